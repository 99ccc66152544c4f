//! The layers with parameters: against candle-nn's, and against the operators that they consist of.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rnn::{GRUConfig, LSTMConfig, RNN};
use candle_nn::{VarBuilder, VarMap};
use s2s_kernels::nn::{self, RecurrentOptions};
use s2s_kernels::{Ragged, State, reference};

use crate::support::{Draw, assert_close, gradients, numbers, weighted_sum};

const INPUTS: usize = 5;
const UNITS: usize = 7;

const DEEP: RecurrentOptions = RecurrentOptions {
    layers: 2,
    is_bidirectional: true,
    has_bias: true,
};

/// Draws every parameter, in the order of their names: candle's own draws differ in each process.
fn parameters(draw: &mut Draw, variables: &VarMap) -> Result<()> {
    let data = variables.data().lock().expect("one thread");
    let mut all: Vec<_> = data.iter().collect();
    all.sort_by_key(|(name, _)| name.as_str());
    for (_, variable) in all {
        variable.set(&draw.tensor(variable.shape())?)?;
    }
    Ok(())
}

fn builder(variables: &VarMap) -> VarBuilder<'_> {
    VarBuilder::from_varmap(variables, DType::F32, &Device::Cpu)
}

#[test]
fn layers_have_the_parameters_and_states_of_candle_nn() -> Result<()> {
    let mut draw = Draw::new(6);
    let variables = VarMap::new();
    let vb = builder(&variables);
    let gru = nn::gru(INPUTS, UNITS, vb.pp("gru"))?;
    let lstm = nn::lstm(INPUTS, UNITS, vb.pp("lstm"))?;
    let n = variables.all_vars().len();
    let other_gru = candle_nn::gru(INPUTS, UNITS, GRUConfig::default(), vb.pp("gru"))?;
    let other_lstm = candle_nn::lstm(INPUTS, UNITS, LSTMConfig::default(), vb.pp("lstm"))?;
    assert_eq!(variables.all_vars().len(), n, "the names are the same");
    parameters(&mut draw, &variables)?;

    let x = draw.tensor((3, 4, INPUTS))?;
    let states = other_gru.seq(&x)?;
    let states: Vec<&Tensor> = states.iter().map(|state| state.h()).collect();
    let expected = numbers(&Tensor::stack(&states, 1)?)?;
    assert_close("GRU", &numbers(&gru.forward(&x)?.states)?, &expected);
    let states = other_lstm.seq(&x)?;
    let output = lstm.forward(&x)?;
    let last = states.last().expect("four states");
    assert_close("c", &numbers(&output.last.cell)?, &numbers(last.c())?);
    assert_close("h", &numbers(&output.last.hidden)?, &numbers(last.h())?);
    Ok(())
}

#[test]
fn a_deep_layer_trains_every_parameter_and_its_initial_state() -> Result<()> {
    let mut draw = Draw::new(7);
    let variables = VarMap::new();
    let vb = builder(&variables);
    let gru = nn::gru_with(INPUTS, UNITS, DEEP, vb.pp("gru"))?;
    let lstm = nn::lstm_with(INPUTS, UNITS, DEEP, vb.pp("lstm"))?;
    parameters(&mut draw, &variables)?;
    let rows = Ragged::new(vec![4, 2], 4, DType::F32, &Device::Cpu)?;
    let x = draw.var((2, 4, INPUTS))?;
    let (hidden, cell) = (draw.var((4, 2, UNITS))?, draw.var((4, 2, UNITS))?);
    let state = State {
        hidden: hidden.as_tensor().clone(),
        cell: cell.as_tensor().clone(),
    };
    let output = gru.forward_ragged(&x, &rows, Some(&state.hidden))?;
    assert_eq!(output.states.dims(), [2, 4, 2 * UNITS]);
    assert_eq!(output.last.dims(), [4, 2, UNITS]);
    let other = lstm.forward_ragged(&x, &rows, Some(&state))?;
    let d_states = draw.tensor((2, 4, 2 * UNITS))?;
    let loss =
        (weighted_sum(&output.states, &d_states)? + weighted_sum(&other.states, &d_states)?)?;
    let all = variables.all_vars();
    let mut read: Vec<_> = all.iter().collect();
    read.extend([&x, &hidden, &cell]);
    for gradient in gradients(&loss, &read)? {
        assert!(gradient.iter().any(|&d| d != 0.0));
    }
    // The last state of the forward direction of layer 1 is its state at the row's own end.
    let end = output.states.get(1)?.get(1)?.narrow(0, 0, UNITS)?;
    assert_eq!(numbers(&output.last.get(2)?.get(1)?)?, numbers(&end)?);
    Ok(())
}

#[test]
fn steps_are_the_layer() -> Result<()> {
    let mut draw = Draw::new(8);
    let options = RecurrentOptions {
        is_bidirectional: false,
        has_bias: false,
        ..DEEP
    };
    let variables = VarMap::new();
    let gru = nn::gru_with(INPUTS, UNITS, options, builder(&variables))?;
    assert_eq!(variables.all_vars().len(), 4, "no bias is a parameter");
    parameters(&mut draw, &variables)?;
    let x = draw.tensor((3, 4, INPUTS))?;
    let mut state = Tensor::zeros((2, 3, UNITS), DType::F32, &Device::Cpu)?;
    for position in 0..4 {
        state = gru.step(&x.narrow(1, position, 1)?.squeeze(1)?, &state)?;
    }
    let expected = numbers(&gru.forward(&x)?.last)?;
    assert_close("state", &numbers(&state)?, &expected);

    let both = nn::gru_with(INPUTS, UNITS, DEEP, builder(&VarMap::new()))?;
    let error = both.step(&x.get(0)?, &state).unwrap_err().to_string();
    assert!(
        error.contains("2 layers") || error.contains("both directions"),
        "{error}"
    );
    Ok(())
}

#[test]
fn steps_on_packed_weights_are_those_of_the_definition() -> Result<()> {
    let mut draw = Draw::new(10);
    let options = RecurrentOptions {
        is_bidirectional: false,
        ..DEEP
    };
    let (gru_variables, lstm_variables) = (VarMap::new(), VarMap::new());
    let gru = nn::gru_with(INPUTS, UNITS, options, builder(&gru_variables))?;
    let lstm = nn::lstm_with(INPUTS, UNITS, options, builder(&lstm_variables))?;
    parameters(&mut draw, &gru_variables)?;
    parameters(&mut draw, &lstm_variables)?;
    let (gru_cell, lstm_cell) = (gru.cell()?, lstm.cell()?);
    for rows in [1, 3, 64] {
        let mut hidden = draw.tensor((2, rows, UNITS))?;
        let mut state = State {
            hidden: draw.tensor((2, rows, UNITS))?,
            cell: draw.tensor((2, rows, UNITS))?,
        };
        for _ in 0..3 {
            let x = draw.tensor((rows, INPUTS))?;
            let next = gru_cell.step(&x, &hidden)?;
            let expected = gru.step(&x, &hidden)?;
            assert_close("GRU", &numbers(&next)?, &numbers(&expected)?);
            // A row alone has the same bits as in a batch.
            let alone = gru_cell.step(&x.narrow(0, 0, 1)?, &hidden.narrow(1, 0, 1)?)?;
            assert_eq!(numbers(&alone)?, numbers(&next.narrow(1, 0, 1)?)?);
            hidden = next;
            let next = lstm_cell.step(&x, &state)?;
            let expected = lstm.step(&x, &state)?;
            assert_close("LSTM", &numbers(&next.hidden)?, &numbers(&expected.hidden)?);
            assert_close("LSTM", &numbers(&next.cell)?, &numbers(&expected.cell)?);
            state = next;
        }
        let (x, wide) = (
            draw.tensor((rows, INPUTS))?,
            draw.tensor((rows, INPUTS + 1))?,
        );
        assert!(gru_cell.step(&wide, &hidden).is_err());
        assert!(gru_cell.step(&x, &hidden.narrow(0, 0, 1)?).is_err());
        assert!(gru_cell.step(&x.to_dtype(DType::F64)?, &hidden).is_err());
    }
    let both = nn::gru_with(INPUTS, UNITS, DEEP, builder(&VarMap::new()))?;
    assert!(both.cell().is_err());
    Ok(())
}

#[test]
fn linear_is_its_reference() -> Result<()> {
    let mut draw = Draw::new(9);
    for (outputs, inputs) in [(1, 1), (33, 17), (16, 64)] {
        let (x, weight) = (draw.var((2, 3, inputs))?, draw.var((outputs, inputs))?);
        let bias = draw.var(outputs)?;
        let d_y = draw.tensor((2, 3, outputs))?;
        for with_bias in [None, Some(bias.as_tensor())] {
            let run = |y: Tensor| -> Result<Vec<Vec<f32>>> {
                let mut read = vec![&x, &weight];
                read.extend(with_bias.map(|_| &bias));
                let mut all = gradients(&weighted_sum(&y, &d_y)?, &read)?;
                all.push(numbers(&y)?);
                Ok(all)
            };
            let fused = run(s2s_kernels::linear(&x, &weight, with_bias)?)?;
            let expected = run(reference::linear(&x, &weight, with_bias)?)?;
            for (index, (fused, expected)) in fused.iter().zip(&expected).enumerate() {
                assert_close(&format!("{index} of {outputs} x {inputs}"), fused, expected);
            }
        }
        assert!(
            s2s_kernels::linear(&x, &weight.t()?.contiguous()?, None).is_err() || outputs == inputs
        );
    }
    Ok(())
}

#[test]
fn attention_weights_are_a_distribution_over_real_positions() -> Result<()> {
    let mut draw = Draw::new(10);
    let variables = VarMap::new();
    let attention = nn::additive_attention(4, 6, 8, builder(&variables))?;
    parameters(&mut draw, &variables)?;
    let rows = Ragged::new(vec![5, 2], 5, DType::F32, &Device::Cpu)?;
    let (query, values) = (draw.var((2, 4))?, draw.var((2, 5, 6))?);
    let keys = attention.keys(&values)?;
    let read = attention.forward(&query, &values, &keys, &rows)?;
    let weights = read.weights.to_vec2::<f32>()?;
    assert!(
        weights
            .iter()
            .all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6)
    );
    assert_eq!(weights[1][2..], [0.0; 3]);
    let d_context = draw.tensor((2, 6))?;
    let loss = weighted_sum(&read.context, &d_context)?;
    let all = variables.all_vars();
    let mut inputs: Vec<_> = all.iter().collect();
    inputs.extend([&query, &values]);
    for gradient in gradients(&loss, &inputs)? {
        assert!(gradient.iter().any(|&d| d != 0.0) && gradient.iter().all(|d| d.is_finite()));
    }
    let empty = Ragged::new(vec![5, 0], 5, DType::F32, &Device::Cpu)?;
    let error = attention
        .forward(&query, &values, &keys, &empty)
        .unwrap_err();
    assert!(error.to_string().contains("row 1 has no position"));
    Ok(())
}
