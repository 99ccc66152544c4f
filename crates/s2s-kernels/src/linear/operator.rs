//! The packed product as a candle operator.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{Linear, bias_gradient, check, weight_gradient};
use crate::matrix::{Epilogue, Matrix};
use crate::storage::{contiguous, output, to_vec};
use crate::team::Team;

pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    check(x, weight, bias)?;
    let (outputs, inputs) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(outputs);
    let zeros;
    let bias = match bias {
        Some(bias) => bias,
        None => {
            zeros = Tensor::zeros(outputs, x.dtype(), x.device())?;
            &zeros
        }
    };
    let operator = Product {
        rows: x.elem_count() / inputs,
        inputs,
        outputs,
        packed: Mutex::new(None),
    };
    x.contiguous()?
        .apply_op3(&weight.contiguous()?, &bias.contiguous()?, operator)?
        .reshape(shape)
}

/// `(x [.., K], weight [N, K], bias [N]) -> y [M, N]`, of M rows of x.
struct Product {
    rows: usize,
    inputs: usize,
    outputs: usize,
    /// The weight, for the backward pass.
    packed: Mutex<Option<Linear<f32>>>,
}

impl Product {
    fn pack(&self, weight: &[f32]) -> Linear<f32> {
        let mut linear = Linear::new();
        linear.pack(Matrix::dense(weight, self.outputs, self.inputs));
        linear
    }
}

impl CustomOp3 for Product {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let packed = self.pack(contiguous(weight, weight_layout)?);
        let x = Matrix::dense(contiguous(x, x_layout)?, self.rows, self.inputs);
        let mut y = vec![0.0; self.rows * self.outputs];
        let bias = Epilogue::Bias(contiguous(bias, bias_layout)?);
        packed.forward_on(x, &mut y, bias, &mut Team::of_candle());
        if let Ok(mut saved) = self.packed.lock() {
            *saved = Some(packed);
        }
        output(y, (self.rows, self.outputs))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        d_y: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let saved = self.packed.lock().ok().and_then(|saved| saved.clone());
        let packed = match saved {
            Some(packed) => packed,
            None => self.pack(&to_vec(weight)?),
        };
        let team = &mut Team::of_candle();
        let (inputs, d_y) = (to_vec(x)?, to_vec(d_y)?);
        let d_y = Matrix::dense(&d_y, self.rows, self.outputs);
        let mut d_x = vec![0.0; inputs.len()];
        packed.backward_on(d_y, &mut d_x, Epilogue::Replace, team);
        let mut d_weight = vec![0.0; self.outputs * self.inputs];
        let inputs = Matrix::dense(&inputs, self.rows, self.inputs);
        let all = Epilogue::Replace;
        weight_gradient(&mut d_weight, self.inputs, d_y, inputs, all, team);
        let mut d_bias = vec![0.0; self.outputs];
        bias_gradient(&mut d_bias, d_y, team);
        Ok((
            Some(Tensor::from_vec(d_x, x.shape(), x.device())?),
            Some(Tensor::from_vec(d_weight, weight.shape(), weight.device())?),
            Some(Tensor::from_vec(d_bias, bias.shape(), bias.device())?),
        ))
    }
}
