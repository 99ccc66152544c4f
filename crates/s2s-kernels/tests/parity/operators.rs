//! Each candle operator against its definition, on the same variables.

use std::num::NonZeroUsize;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use s2s_kernels::{
    AdamStep, Direction, Moments, Ragged, RecurrentWeights, State, adam, additive_scores, gru,
    lstm, reference, token_loss,
};

use crate::support::{Draw, assert_close, gradients, numbers, weighted_sum};

#[derive(Clone, Copy, Debug)]
enum Path {
    Kernel,
    Definition,
}

const BOTH: [Path; 2] = [Path::Kernel, Path::Definition];

#[derive(Clone, Copy, Debug)]
enum Cell {
    Gru,
    Lstm,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    /// The states at all positions, then every vector of the last state.
    fn run(
        self,
        path: Path,
        input: &Tensor,
        weights: &RecurrentWeights,
        rows: &Ragged,
        direction: Direction,
        initial: Option<&State<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        Ok(match self {
            Self::Gru => {
                let gru = match path {
                    Path::Kernel => gru,
                    Path::Definition => reference::gru,
                };
                let output = gru(
                    input,
                    weights,
                    rows,
                    direction,
                    initial.map(|state| &state.hidden),
                )?;
                vec![output.states, output.last]
            }
            Self::Lstm => {
                let lstm = match path {
                    Path::Kernel => lstm,
                    Path::Definition => reference::lstm,
                };
                let output = lstm(input, weights, rows, direction, initial)?;
                vec![output.states, output.last.hidden, output.last.cell]
            }
        })
    }
}

#[derive(Clone, Debug)]
struct LayerCase {
    cell: Cell,
    lengths: Vec<usize>,
    len: usize,
    inputs: usize,
    units: usize,
    direction: Direction,
    has_initial: bool,
}

fn check_layer(case: &LayerCase) -> Result<()> {
    let LayerCase {
        cell,
        lengths,
        len,
        inputs,
        units,
        direction,
        has_initial,
    } = case;
    let (batch, len, inputs, units) = (lengths.len(), *len, *inputs, *units);
    let gates = cell.gates() * units;
    let mut draw = Draw::new(1);
    let input = draw.var((batch, len, inputs))?;
    let vars = [
        draw.var((gates, inputs))?,
        draw.var((gates, units))?,
        draw.var(gates)?,
        draw.var(gates)?,
    ];
    let weights = RecurrentWeights {
        weight_ih: vars[0].as_tensor().clone(),
        weight_hh: vars[1].as_tensor().clone(),
        bias_ih: vars[2].as_tensor().clone(),
        bias_hh: vars[3].as_tensor().clone(),
    };
    let d_states = draw.tensor((batch, len, units))?;
    let d_last = [draw.tensor((batch, units))?, draw.tensor((batch, units))?];
    let initial = [draw.var((batch, units))?, draw.var((batch, units))?];
    let state = State {
        hidden: initial[0].as_tensor().clone(),
        cell: initial[1].as_tensor().clone(),
    };
    let rows = Ragged::new(lengths.clone(), len, DType::F32, &Device::Cpu)?;
    let run = |path: Path| -> Result<Vec<Vec<f32>>> {
        let state = has_initial.then_some(&state);
        let said = cell.run(path, &input, &weights, &rows, *direction, state)?;
        let mut loss = weighted_sum(&said[0], &d_states)?;
        for (last, d_last) in said[1..].iter().zip(&d_last) {
            loss = (loss + weighted_sum(last, d_last)?)?;
        }
        let [weight_ih, weight_hh, bias_ih, bias_hh] = &vars;
        let mut inputs = vec![&input, weight_ih, weight_hh, bias_ih, bias_hh];
        if *has_initial {
            inputs.extend(&initial[..said.len() - 1]);
        }
        let mut all = gradients(&loss, &inputs)?;
        all.extend(said.iter().map(numbers).collect::<Result<Vec<_>>>()?);
        Ok(all)
    };
    let [fused, reference] = [run(BOTH[0])?, run(BOTH[1])?];
    assert_eq!(fused.len(), reference.len());
    for (index, (fused, reference)) in fused.iter().zip(&reference).enumerate() {
        assert_close(&format!("{index} of {case:?}"), fused, reference);
    }
    Ok(())
}

fn check_edges(cell: Cell) -> Result<()> {
    for direction in [Direction::Forward, Direction::Backward] {
        for lengths in [vec![1], vec![3, 1, 0, 3], vec![2; 17]] {
            for (inputs, units) in [(1, 1), (3, 15), (16, 16), (17, 33)] {
                let len = 3.min(lengths.iter().copied().max().unwrap_or(0));
                for has_initial in [false, true] {
                    check_layer(&LayerCase {
                        cell,
                        lengths: lengths.clone(),
                        len,
                        inputs,
                        units,
                        direction,
                        has_initial,
                    })?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gru_is_its_reference_at_every_edge() -> Result<()> {
    check_edges(Cell::Gru)
}

#[test]
fn lstm_is_its_reference_at_every_edge() -> Result<()> {
    check_edges(Cell::Lstm)
}

#[test]
fn a_layer_continues_where_another_stopped() -> Result<()> {
    let mut draw = Draw::new(5);
    let (batch, inputs, units) = (2, 3, 4);
    for cell in [Cell::Gru, Cell::Lstm] {
        let gates = cell.gates() * units;
        let weights = RecurrentWeights {
            weight_ih: draw.tensor((gates, inputs))?,
            weight_hh: draw.tensor((gates, units))?,
            bias_ih: draw.tensor(gates)?,
            bias_hh: draw.tensor(gates)?,
        };
        let input = draw.tensor((batch, 7, inputs))?;
        let run = |from, len, state| {
            let rows = Ragged::full(batch, len, DType::F32, &Device::Cpu)?;
            let input = input.narrow(1, from, len)?;
            cell.run(
                Path::Kernel,
                &input,
                &weights,
                &rows,
                Direction::Forward,
                state,
            )
        };
        let whole = run(0, 7, None)?;
        let first = run(0, 3, None)?;
        let state = State {
            hidden: first[1].clone(),
            cell: first.last().expect("h").clone(),
        };
        let second = run(3, 4, Some(&state))?;
        assert_eq!(numbers(&whole[0].narrow(1, 3, 4)?)?, numbers(&second[0])?);
        assert_eq!(numbers(&whole[1])?, numbers(&second[1])?);
    }
    Ok(())
}

#[test]
fn weights_of_the_other_cell_are_refused() -> Result<()> {
    let mut draw = Draw::new(1);
    let rows = Ragged::new(vec![2, 1], 2, DType::F32, &Device::Cpu)?;
    let input = draw.tensor((2, 2, 3))?;
    let longer = draw.tensor((2, 3, 3))?;
    for (cell, other) in [(Cell::Gru, Cell::Lstm), (Cell::Lstm, Cell::Gru)] {
        let mut weights = |gates: usize| -> Result<RecurrentWeights> {
            Ok(RecurrentWeights {
                weight_ih: draw.tensor((gates * 5, 3))?,
                weight_hh: draw.tensor((gates * 5, 5))?,
                bias_ih: draw.tensor(gates * 5)?,
                bias_hh: draw.tensor(gates * 5)?,
            })
        };
        let (own, foreign) = (weights(cell.gates())?, weights(other.gates())?);
        for path in BOTH {
            let run =
                |input, weights| cell.run(path, input, weights, &rows, Direction::Forward, None);
            assert!(run(&input, &own).is_ok());
            assert!(run(&longer, &own).is_err());
            let error = run(&input, &foreign).unwrap_err().to_string();
            let says = format!("({} gates)", cell.gates());
            assert!(error.contains(&says), "{error}");
        }
    }
    Ok(())
}

fn check_scores(batch: usize, source_len: usize, units: usize, scale: f64) -> Result<()> {
    let mut draw = Draw::new(2);
    let query = Var::from_tensor(&(draw.tensor((batch, units))? * scale)?)?;
    let keys = draw.var((batch, source_len, units))?;
    let energy = draw.var(units)?;
    let d_scores = draw.tensor((batch, source_len))?;
    let run = |path: Path| -> Result<Vec<Vec<f32>>> {
        let scores = match path {
            Path::Kernel => additive_scores(&query, &keys, &energy)?,
            Path::Definition => reference::additive_scores(&query, &keys, &energy)?,
        };
        let loss = weighted_sum(&scores, &d_scores)?;
        let mut all = vec![numbers(&scores)?];
        all.extend(gradients(&loss, &[&query, &keys, &energy])?);
        Ok(all)
    };
    let [fused, reference] = [run(BOTH[0])?, run(BOTH[1])?];
    for ((fused, reference), name) in fused
        .iter()
        .zip(&reference)
        .zip(["scores", "query", "keys", "energy"])
    {
        assert_close(name, fused, reference);
    }
    Ok(())
}

fn check_loss(lengths: Vec<usize>, len: usize, vocab: usize, scale: f64) -> Result<()> {
    let mut draw = Draw::new(3);
    let batch = lengths.len();
    let variable = &draw.var((batch, len, vocab))?;
    let targets = draw.words(batch * len, vocab);
    let targets = Tensor::from_vec(targets, (batch, len), &Device::Cpu)?;
    let rows = Ragged::new(lengths, len, DType::F32, &Device::Cpu)?;
    let run = |path: Path| -> Result<(f32, usize, Vec<f32>)> {
        let logits = (variable.as_tensor() * scale)?;
        let loss = match path {
            Path::Kernel => token_loss(&logits, &targets, &rows)?,
            Path::Definition => reference::token_loss(&logits, &targets, &rows)?,
        };
        let gradient = gradients(&loss.mean()?, &[variable])?.remove(0);
        Ok((loss.sum.to_scalar()?, loss.n_tokens, gradient))
    };
    let [fused, reference] = [run(BOTH[0])?, run(BOTH[1])?];
    assert_close("loss", &[fused.0], &[reference.0]);
    assert_eq!(fused.1, reference.1);
    assert_close("logits", &fused.2, &reference.2);
    Ok(())
}

#[test]
fn loss_is_its_reference_at_every_edge() -> Result<()> {
    for lengths in [vec![1], vec![3, 0, 1, 2]] {
        for vocab in [1, 2, 15, 16, 17, 53] {
            for scale in [1.0, 80.0, 1e4] {
                check_loss(lengths.clone(), 3, vocab, scale)?;
            }
        }
    }
    Ok(())
}

#[test]
fn loss_refuses_what_the_reference_refuses() -> Result<()> {
    let logits = Tensor::zeros((1, 2, 3), DType::F32, &Device::Cpu)?;
    let targets = Tensor::zeros((1, 2), DType::U32, &Device::Cpu)?;
    for path in BOTH {
        let token_loss = match path {
            Path::Kernel => token_loss,
            Path::Definition => reference::token_loss,
        };
        let empty = Ragged::new(vec![0], 2, DType::F32, &Device::Cpu)?;
        assert!(token_loss(&logits, &targets, &empty).is_err());
        let rows = Ragged::new(vec![2], 2, DType::F32, &Device::Cpu)?;
        let beyond = Tensor::full(3_u32, (1, 2), &Device::Cpu)?;
        assert!(token_loss(&logits, &beyond, &rows).is_err());
    }
    Ok(())
}

#[test]
fn adam_is_its_reference() -> Result<()> {
    for weight_decay in [0.0, 0.1] {
        let runs = BOTH.map(|path| -> Result<Vec<Vec<f32>>> {
            let mut draw = Draw::new(4);
            let param = draw.var((3, 7))?;
            let mut moments = Moments::zeros_like(&param)?;
            for update in 1..5 {
                let grad = draw.tensor((7, 3))?.t()?; // not contiguous
                let step = AdamStep {
                    grad_scale: 0.3,
                    learning_rate: 0.01,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay,
                    correction1: 1.0 - 0.9_f64.powi(update),
                    correction2: 1.0 - 0.999_f64.powi(update),
                };
                match path {
                    Path::Kernel => {
                        adam([(&param, &grad, &mut moments)], &step, NonZeroUsize::MIN)?;
                    }
                    Path::Definition => reference::adam(&param, &grad, &mut moments, &step)?,
                }
            }
            Ok(vec![
                numbers(&param)?,
                numbers(&moments.first)?,
                numbers(&moments.second)?,
            ])
        });
        let [fused, reference] = runs;
        for ((fused, reference), name) in fused?
            .iter()
            .zip(&reference?)
            .zip(["param", "first", "second"])
        {
            assert_close(name, fused, reference);
        }
    }
    Ok(())
}

#[test]
fn other_types_and_layouts_take_the_reference() -> Result<()> {
    let mut draw = Draw::new(5);
    let query = draw.tensor((2, 3))?;
    let keys = draw
        .tensor((3, 4, 2))?
        .t()?
        .permute((1, 0, 2))?
        .contiguous()?;
    let keys = keys.narrow(0, 0, 2)?.narrow(2, 0, 3)?; // [2, 3, 3] at most, not contiguous
    let energy = draw.tensor(3)?;
    let fused = additive_scores(&query, &keys, &energy)?;
    let double = |t: &Tensor| t.to_dtype(DType::F64);
    let exact = additive_scores(
        &double(&query)?,
        &double(&keys.contiguous()?)?,
        &double(&energy)?,
    )?;
    assert_eq!(exact.dtype(), DType::F64);
    assert_close(
        "scores",
        &numbers(&fused)?,
        &numbers(&exact.to_dtype(DType::F32)?)?,
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn layers_are_their_reference(
        is_gru: bool,
        lengths in prop::collection::vec(0..6_usize, 1..9),
        inputs in 1..20_usize,
        units in 1..40_usize,
        is_forward: bool,
        has_initial: bool,
    ) {
        let direction = if is_forward { Direction::Forward } else { Direction::Backward };
        let cell = if is_gru { Cell::Gru } else { Cell::Lstm };
        check_layer(&LayerCase { cell, lengths, len: 5, inputs, units, direction, has_initial }).unwrap();
    }

    #[test]
    fn scores_are_their_reference(
        batch in 1..5_usize,
        source_len in 1..6_usize,
        units in 1..70_usize,
        is_large: bool,
    ) {
        check_scores(batch, source_len, units, if is_large { 50.0 } else { 1.0 }).unwrap();
    }
}
