//! What holds of every model, whatever its architecture.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use candle_core::{D, DType, Error, IndexOp, Result, Tensor};
use candle_nn::ops::log_softmax;
use rand::Rng;
use s2s_kernels::{Direction, Ragged, RecurrentWeights, gru, lstm, reference};
use s2s_model::{
    Batch, Beam, CellKind, CoinScope, Forcing, Generator, Kernels, LoadOptions, MAX_REFERENCE_LEN,
    Mode, ModelConfig, Noise, Params, Probability, REFERENCE_STACK_BYTES, Seq2Seq, Source, Stop,
    Tokens, keyed_rng, load_weights, recurrent_weights, save_weights,
};

use crate::architectures::{
    FIXED_LENGTH, TOKENS, all_kernels, architectures, cells, decisive, device, fresh, greedy,
    on_device, reversals, sources, with_feedback,
};
use crate::closeness::{assert_close, assert_same, distance, largest};

/// Units of the encoder a direction, where nothing depends on them.
const HIDDEN: usize = 4;

#[test]
fn initial_loss_is_that_of_a_uniform_guess() -> Result<()> {
    // Logits that know nothing and have variance σ² cost ln V + σ²/2 on average. An output starts
    // as a bias and one term an input, uniform within 1/√inputs, so that σ² is 1/3 if every state
    // is ±1; fresh states are nearer to ±1/3, σ² to 0.04 and its cost to 0.02. What is left is the
    // mean over 49 different tokens, whose chance is σ/√49 = 0.03. Normalized numbers, to which a
    // residual connection adds the states, are about ±1 from the start: σ² is 0.4 and costs 0.2.
    const TOLERANCE: f64 = 0.1;
    const NORMALIZED_TOLERANCE: f64 = 0.3;
    let tokens = Tokens {
        size: 51,
        bos: 49,
        eos: 50,
    };
    let mut rng = keyed_rng(0, "sources", 0);
    let sources: Vec<Vec<u32>> = (0..32)
        .map(|_| (0..8).map(|_| rng.random_range(1..49)).collect())
        .collect();
    let batch = Batch::new(&sources, &sources, tokens)?;
    let uniform = (tokens.size as f64).ln();
    for config in architectures(16) {
        let mut model = Seq2Seq::new(&config, tokens, 0, DType::F32, device())?;
        let loss = loss(&mut model, &batch)?;
        let tolerance = match config.residual && config.layer_norm {
            true => NORMALIZED_TOLERANCE,
            false => TOLERANCE,
        };
        assert!(
            (loss - uniform).abs() < tolerance,
            "{loss} against {uniform}: {config:?}"
        );
    }
    Ok(())
}

#[test]
fn same_seed_gives_the_same_parameters_to_the_bit() -> Result<()> {
    for config in architectures(HIDDEN) {
        let [one, again, other] = [3, 3, 4].map(|seed| fresh(&config, seed));
        let (one, again, other) = (one?, again?, other?);
        for (name, var) in one.params().iter() {
            let found = |model: &Seq2Seq| bits(model.params().get(name).expect("the same names"));
            assert_eq!(bits(var)?, found(&again)?, "{name}: {config:?}");
            let is_drawn = !name.contains(".norm."); // a normalization starts with gain 1 and bias 0
            assert_eq!(bits(var)? != found(&other)?, is_drawn, "{name}: {config:?}");
        }
    }
    Ok(())
}

#[test]
fn another_layer_does_not_change_the_draws_of_the_others() -> Result<()> {
    for config in architectures(HIDDEN) {
        let deeper = ModelConfig {
            layers: config.layers.saturating_add(1),
            ..config.clone()
        };
        let (model, deeper) = (fresh(&config, 0)?, fresh(&deeper, 0)?);
        assert!(model.params().n_elements() < deeper.params().n_elements());
        for (name, var) in model.params().iter() {
            let same = deeper
                .params()
                .get(name)
                .expect("it has all names and more");
            assert_eq!(bits(var)?, bits(same)?, "{name}: {config:?}");
        }
    }
    Ok(())
}

#[test]
fn every_parameter_has_a_gradient_that_is_not_zero() -> Result<()> {
    // In double precision, where rounding is below 1e-15, a gradient this large is no accident; in
    // single precision, where there are kernels, one that was forgotten is exactly 0.
    const FLOOR: f64 = 1e-9;
    for config in architectures(HIDDEN) {
        for dtype in [DType::F64, DType::F32] {
            let mut model = Seq2Seq::new(&config, TOKENS, 0, dtype, device())?;
            let batch = Batch::new(&sources(), &sources(), TOKENS)?;
            let (_, gradients) = model.gradients(&batch, &Forcing::Always, &Noise::new(0, 1))?;
            for ((name, _), gradient) in model.params().iter().zip(&gradients) {
                let scale = largest(gradient)?;
                assert!(scale > FLOOR, "{name}: {scale:e} in {config:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn loss_and_gradients_are_finite_at_extreme_logits() -> Result<()> {
    let batch = reversals(&sources())?;
    for config in architectures(HIDDEN) {
        let mut model = fresh(&config, 0)?;
        for (_, var) in model.params().iter() {
            var.set(&(var.as_detached_tensor() * 1e4)?)?;
        }
        assert!(largest(&logits(&mut model, &batch)?)? > 1e3, "{config:?}");
        let (score, gradients) = model.gradients(&batch, &Forcing::Always, &Noise::new(0, 1))?;
        assert!(score.loss_sum.is_finite(), "{config:?}");
        for gradient in gradients {
            assert!(largest(&gradient)?.is_finite(), "{config:?}");
        }
        for decoded in greedy(&model, batch.source(), Stop::default())? {
            assert!(decoded.log_prob().is_finite(), "{config:?}");
        }
    }
    Ok(())
}

#[test]
fn padding_does_not_change_logits_loss_or_gradients() -> Result<()> {
    let batch = reversals(&sources())?;
    let noise = Noise::new(0, 1);
    for config in architectures(HIDDEN) {
        let mut model = fresh(&config, 0)?;
        let expected = rows(&mut model, &batch)?;
        let (score, gradients) = model.gradients(&batch, &Forcing::Always, &noise)?;
        for (extra, filler) in [(0, 7), (1, 0), (7, TOKENS.eos)] {
            let padded = padded(&sources(), extra, filler)?;
            let what = format!("{extra} more filled with {filler}: {config:?}");
            for (got, expected) in rows(&mut model, &padded)?.iter().zip(&expected) {
                assert_close(got, expected, on_device(1e-6), &what)?;
            }
            let (got, got_gradients) = model.gradients(&padded, &Forcing::Always, &noise)?;
            let n_tokens = batch.n_tokens() as f64;
            assert!(
                (got.loss_sum - score.loss_sum).abs() < on_device(1e-6) * n_tokens,
                "{what}"
            );
            for (got, expected) in got_gradients.iter().zip(&gradients) {
                assert_close(got, expected, on_device(1e-6), &what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn order_and_companions_do_not_change_logits() -> Result<()> {
    let (sources, mut turned) = (sources(), sources());
    turned.reverse();
    for config in architectures(HIDDEN) {
        let mut model = fresh(&config, 0)?;
        let together = rows(&mut model, &reversals(&sources)?)?;
        let mut reversed = rows(&mut model, &reversals(&turned)?)?;
        reversed.reverse();
        for (row, expected) in together.iter().enumerate() {
            let alone = rows(&mut model, &reversals(&sources[row..=row])?)?;
            assert_close(
                &alone[0],
                expected,
                on_device(1e-6),
                &format!("alone: {config:?}"),
            )?;
            assert_close(
                &reversed[row],
                expected,
                on_device(1e-6),
                &format!("turned: {config:?}"),
            )?;
        }
    }
    Ok(())
}

#[test]
fn order_and_companions_do_not_change_loss_or_predictions() -> Result<()> {
    let mut turned = sources();
    turned.reverse();
    for config in architectures(HIDDEN) {
        let mut model = decisive(&config, 0)?;
        for forcing in [Forcing::Always, Forcing::Never] {
            let mut say = |sources: &[Vec<u32>]| -> Result<(f64, Vec<Vec<u32>>)> {
                let batch = reversals(sources)?;
                let score = model.loss(&batch, &forcing)?;
                let said = score.predictions.chunks(batch.target_len());
                let rows = said.zip(batch.target_lengths());
                let rows = rows.map(|(said, len)| said[..*len].to_vec()).collect();
                Ok((score.loss_sum, rows))
            };
            let (together, expected) = say(&sources())?;
            let (other, mut reversed) = say(&turned)?;
            reversed.reverse();
            assert_eq!(reversed, expected, "{config:?}");
            assert!(
                (other - together).abs() < on_device(1e-6) * together,
                "{config:?}"
            );
            let mut sum = 0.0;
            for (row, source) in sources().into_iter().enumerate() {
                let (alone, said) = say(&[source])?;
                assert_eq!(said[0], expected[row], "{config:?}");
                sum += alone;
            }
            assert!(
                (sum - together).abs() < on_device(1e-6) * together,
                "{config:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn order_and_companions_do_not_change_what_greedy_says() -> Result<()> {
    let (sources, mut turned) = (sources(), sources());
    turned.reverse();
    for config in architectures(HIDDEN) {
        let model = decisive(&config, 0)?;
        for stop in [Stop::default(), FIXED_LENGTH] {
            let together = greedy(&model, &source(&sources)?, stop)?;
            let mut reversed = greedy(&model, &source(&turned)?, stop)?;
            reversed.reverse();
            for (row, expected) in together.iter().enumerate() {
                let alone = greedy(&model, &source(&sources[row..=row])?, stop)?;
                for got in [&alone[0], &reversed[row]] {
                    assert_eq!(got.tokens, expected.tokens, "{config:?}");
                    assert_eq!(got.stopped, expected.stopped, "{config:?}");
                    // Of logits up to 10 large, in single precision.
                    assert_near(&got.log_probs, &expected.log_probs, 1e-5);
                    assert_eq!(got.weights.len(), expected.weights.len(), "{config:?}");
                    for (got, expected) in got.weights.iter().zip(&expected.weights) {
                        assert_near(got, expected, 1e-5);
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn logits_do_not_see_later_targets() -> Result<()> {
    let sources = vec![vec![1, 2, 3], vec![4, 5]];
    let targets = vec![vec![3, 2, 1, 3, 2], vec![5, 4, 5, 4, 5]];
    for config in with_feedback(HIDDEN) {
        let mut model = fresh(&config, 0)?;
        let mut of = |targets: &[Vec<u32>]| {
            let batch = Batch::new(&sources, targets, TOKENS)?;
            logits(&mut model, &batch)
        };
        let before = of(&targets)?;
        for step in 0..5 {
            let mut later = targets.clone();
            later.iter_mut().for_each(|target| target[step..].fill(9));
            let after = of(&later)?;
            // The token at `step` is fed at the step after.
            let (seen, rest) = (step + 1, 5 - step);
            let what = format!("targets from {step} on: {config:?}");
            assert_same(
                &after.narrow(1, 0, seen)?,
                &before.narrow(1, 0, seen)?,
                &what,
            )?;
            let next = |logits: &Tensor| logits.narrow(1, seen, rest);
            assert!(distance(&next(&after)?, &next(&before)?)? > 1e-4, "{what}");
        }
    }
    Ok(())
}

#[test]
fn backward_direction_starts_at_the_end_of_each_row() -> Result<()> {
    let (len, input, hidden) = (5, 3, 4);
    let lengths = [2, 5, 1, 4];
    let mut rng = keyed_rng(0, "input", 0);
    let x: Vec<f32> = (0..lengths.len() * len * input)
        .map(|_| rng.random())
        .collect();
    let x = Tensor::from_vec(x, (lengths.len(), len, input), device())?;
    for (cell, kernels) in each_with_each(&cells(), &all_kernels()) {
        let mut params = Params::new(0, DType::F32, device());
        let weights = recurrent_weights(&mut params.root(), cell, "_l0", input, hidden)?;
        let run = |x: &Tensor, lengths: &[usize], direction| {
            let rows = Ragged::new(lengths.to_vec(), x.dim(1)?, DType::F32, device())?;
            run_layer(cell, kernels, x, &weights, &rows, direction)
        };
        let (states, last) = run(&x, &lengths, Direction::Backward)?;
        for (row, n) in lengths.into_iter().enumerate() {
            // Read backward is read forward in the other order, the row's own end first.
            let order: Vec<u32> = (0..n as u32).rev().collect();
            let turn = |x: &Tensor| x.index_select(&Tensor::new(order.clone(), device())?, 1);
            let own = x.narrow(0, row, 1)?.narrow(1, 0, n)?; // [1, n, I]
            let (forward, forward_last) = run(&turn(&own)?, &[n], Direction::Forward)?;
            let states = states.narrow(0, row, 1)?;
            let what = format!("row {row}, {cell:?}, {kernels:?}");
            assert_close(
                &states.narrow(1, 0, n)?,
                &turn(&forward)?,
                on_device(1e-6),
                &what,
            )?;
            for (last, forward_last) in last.iter().zip(&forward_last) {
                assert_close(&last.i(row..=row)?, forward_last, on_device(1e-6), &what)?;
            }
            assert_same(
                &states.i((0, n..))?,
                &states.i((0, n..))?.zeros_like()?,
                &what,
            )?;
        }
    }
    Ok(())
}

#[test]
fn dropout_is_off_in_evaluate_and_keyed_in_train() -> Result<()> {
    let batch = reversals(&sources())?;
    for config in architectures(HIDDEN) {
        let dropping = ModelConfig {
            embedding_dropout: half(),
            ..config.clone()
        };
        let (mut still, mut dropping) = (fresh(&config, 0)?, fresh(&dropping, 0)?);
        let score = still.loss(&batch, &Forcing::Always)?;
        assert_eq!(
            dropping.loss(&batch, &Forcing::Always)?,
            score,
            "{config:?}"
        );
        let say =
            |model: &mut Seq2Seq, mode: Mode<'_>| model.logits(&batch, &Forcing::Always, mode);
        let what = format!("{config:?}");
        let expected = say(&mut still, Mode::Evaluate)?;
        assert_same(&say(&mut dropping, Mode::Evaluate)?, &expected, &what)?;
        let [noise, other] = [1, 2].map(|step| Noise::new(0, step));
        assert_same(&say(&mut still, Mode::Train(&noise))?, &expected, &what)?;
        let dropped = say(&mut dropping, Mode::Train(&noise))?;
        assert_same(&say(&mut dropping, Mode::Train(&noise))?, &dropped, &what)?;
        assert!(distance(&dropped, &expected)? > 1e-2, "{what}");
        assert!(
            distance(&say(&mut dropping, Mode::Train(&other))?, &dropped)? > 1e-2,
            "{what}"
        );
    }
    Ok(())
}

#[test]
fn embedding_dropout_falls_on_both_embeddings_and_nowhere_else() -> Result<()> {
    for config in with_feedback(HIDDEN) {
        let config = ModelConfig {
            embedding_dropout: half(),
            ..config
        };
        let (encoder, decoder) = ("encoder.embedding", "decoder.embedding");
        assert!(feels_dropout(&config, &[decoder])?, "{config:?}");
        assert!(feels_dropout(&config, &["encoder"])?, "{config:?}");
        assert!(!feels_dropout(&config, &[encoder, decoder])?, "{config:?}");
    }
    Ok(())
}

#[test]
fn dropout_falls_between_the_layers_of_both_stacks_and_nowhere_else() -> Result<()> {
    for config in with_feedback(HIDDEN) {
        if config.layers.get() == 1 {
            continue; // there is nothing between
        }
        let config = ModelConfig {
            dropout: half(),
            ..config
        };
        let (encoder, decoder) = ("encoder.rnn.weight_ih_l1", "decoder.rnn.weight_ih_l1");
        assert!(feels_dropout(&config, &[decoder])?, "{config:?}");
        assert!(feels_dropout(&config, &[encoder])?, "{config:?}");
        assert!(!feels_dropout(&config, &[encoder, decoder])?, "{config:?}");
    }
    Ok(())
}

/// Whether training mode changes the logits when the parameters whose names begin so are 0: what
/// is dropped before them is not felt.
fn feels_dropout(config: &ModelConfig, zeroed: &[&str]) -> Result<bool> {
    let batch = reversals(&sources())?;
    let mut model = decisive(config, 0)?;
    for (name, var) in model.params().iter() {
        if zeroed.iter().any(|place| name.starts_with(place)) {
            var.set(&var.zeros_like()?)?;
        }
    }
    let noise = Noise::new(0, 1);
    let trained = model.logits(&batch, &Forcing::Always, Mode::Train(&noise))?;
    Ok(distance(&trained, &logits(&mut model, &batch)?)? > 1e-3)
}

fn half() -> Probability {
    Probability::try_from(0.5).expect("a chance")
}

#[test]
fn forced_and_free_agree_where_the_model_says_the_target() -> Result<()> {
    let batch = reversals(&sources())?;
    let (n_rows, steps) = (batch.n_rows(), batch.target_len());
    for config in architectures(HIDDEN) {
        let mut model = decisive(&config, 0)?;
        let free = model.logits(&batch, &Forcing::Never, Mode::Evaluate)?;
        let own = model.loss(&batch, &Forcing::Never)?.predictions;
        let lengths = vec![steps; n_rows];
        let batch = Batch::with_target(batch.source().clone(), own, lengths, TOKENS)?;
        let coins = Noise::new(0, 1).coins(0.5, CoinScope::Sequence, n_rows, steps);
        for forcing in [Forcing::Always, Forcing::Never, coins] {
            let logits = model.logits(&batch, &forcing, Mode::Evaluate)?;
            let predictions = model.loss(&batch, &forcing)?.predictions;
            let what = format!("{forcing:?}: {config:?}");
            // Off the CPU, a product over one step is not always to the bit what it is over several.
            let tolerance = if device().is_cpu() { 0.0 } else { 1e-5 };
            assert_close(&logits, &free, tolerance, &what)?;
            assert_eq!(predictions, batch.target_out(), "{what}");
        }
    }
    Ok(())
}

#[test]
fn coins_of_another_shape_are_refused() -> Result<()> {
    let batch = reversals(&sources())?;
    let (n_rows, steps) = (batch.n_rows(), batch.target_len());
    let noise = Noise::new(0, 1);
    for config in architectures(HIDDEN) {
        let mut model = fresh(&config, 0)?;
        for (n_rows, steps) in [(n_rows - 1, steps), (n_rows, steps - 1)] {
            let coins = noise.coins(0.5, CoinScope::Batch, n_rows, steps);
            assert!(model.logits(&batch, &coins, Mode::Evaluate).is_err());
            assert!(model.forward(&batch, &coins, Mode::Evaluate).is_err());
            assert!(model.loss(&batch, &coins).is_err());
            assert!(model.gradients(&batch, &coins, &noise).is_err());
        }
    }
    Ok(())
}

#[test]
fn greedy_has_the_log_probs_of_a_forced_pass_over_what_it_said() -> Result<()> {
    for config in architectures(HIDDEN) {
        let mut model = decisive(&config, 0)?;
        let said = greedy(&model, &source(&sources())?, Stop::default())?;
        let targets: Vec<Vec<u32>> = said.iter().map(|row| row.tokens.clone()).collect();
        let batch = Batch::new(&sources(), &targets, TOKENS)?;
        let logits = logits(&mut model, &batch)?;
        let (rows, steps) = (batch.n_rows(), batch.target_len());
        let targets = batch.target_out().to_vec();
        let targets = Tensor::from_vec(targets, (rows, steps, 1), logits.device())?;
        let chosen = log_softmax(&logits, D::Minus1)?
            .gather(&targets, 2)?
            .squeeze(2)?
            .to_vec2::<f32>()?;
        for (row, chosen) in said.iter().zip(chosen) {
            let n = row.tokens.len() + usize::from(row.stopped);
            assert_near(&row.log_probs, &chosen[..n], 1e-5);
        }
    }
    Ok(())
}

#[test]
fn greedy_says_as_much_as_it_is_told_and_no_end() -> Result<()> {
    for config in architectures(HIDDEN) {
        let model = decisive(&config, 0)?;
        favor(&model, TOKENS.eos, 100.0)?;
        let source = source(&sources())?;
        for growth in [1, 2] {
            let told = Stop::AtSourceLength {
                n_markers: 0,
                growth,
            };
            let rows = greedy(&model, &source, told)?;
            for (decoded, source) in rows.iter().zip(sources()) {
                let len = growth * source.len();
                assert_eq!(decoded.tokens.len(), len, "{config:?}");
                assert_eq!(decoded.log_probs.len(), len, "{config:?}");
                assert!(!decoded.tokens.contains(&TOKENS.eos), "{config:?}");
                assert!(!decoded.stopped, "{config:?}");
            }
        }
        for decoded in greedy(&model, &source, Stop::default())? {
            assert!(decoded.stopped && decoded.tokens.is_empty(), "{config:?}");
        }
    }
    Ok(())
}

#[test]
fn greedy_stops_each_row_at_its_own_limit() -> Result<()> {
    for config in architectures(HIDDEN) {
        let model = decisive(&config, 0)?;
        favor(&model, TOKENS.eos, -100.0)?;
        let rows = greedy(&model, &source(&sources())?, Stop::default())?;
        for (decoded, source) in rows.iter().zip(sources()) {
            let limit = Stop::default().limit(source.len());
            assert_eq!(decoded.tokens.len(), limit, "{config:?}");
            assert!(!decoded.stopped, "{config:?}");
            for weights in &decoded.weights {
                assert_eq!(weights.len(), source.len(), "{config:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn who_watches_sees_the_weights_that_are_kept_and_ends_rows_early() -> Result<()> {
    for config in architectures(HIDDEN) {
        let model = decisive(&config, 0)?;
        let (source, stop) = (
            source(&sources())?,
            Stop::AtSourceLength {
                n_markers: 0,
                growth: 1,
            },
        );
        let expected = greedy(&model, &source, stop)?;
        let end = |row: usize| (row + 1).min(expected[row].tokens.len()); // after so many steps
        let mut seen = vec![Vec::new(); expected.len()];
        let cut = Generator::new(&model)?.watch(&source, stop, &mut |row, weights, reach| {
            let is_near = |position: &usize| reach.iter().any(|range| range.contains(position));
            let mut outside = (0..weights.len()).filter(|position| !is_near(position));
            assert!(
                outside.all(|position| weights[position] == 0.0),
                "{config:?}"
            );
            seen[row].push(weights.to_vec());
            match seen[row].len() < row + 1 {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        for (row, (cut, expected)) in cut.iter().zip(&expected).enumerate() {
            assert_eq!(cut.tokens, expected.tokens[..end(row)], "{config:?}");
            assert_eq!(seen[row].len(), end(row), "{config:?}");
            for (seen, expected) in seen[row].iter().zip(&expected.weights) {
                // On the reference path, other companions sum in another order.
                assert_near(seen, expected, 1e-5);
            }
            assert!(cut.weights.is_empty(), "{config:?}");
        }
    }
    Ok(())
}

#[test]
fn weights_that_pass_through_a_file_keep_what_greedy_says() -> Result<()> {
    let source = source(&sources())?;
    for config in architectures(HIDDEN) {
        let (from, to) = (decisive(&config, 0)?, fresh(&config, 1)?);
        let expected = greedy(&from, &source, Stop::default())?;
        assert_ne!(
            greedy(&to, &source, Stop::default())?,
            expected,
            "{config:?}"
        );
        load_weights(
            to.params(),
            &save_weights(from.params())?,
            &LoadOptions::default(),
        )
        .map_err(Error::wrap)?;
        assert_eq!(
            greedy(&to, &source, Stop::default())?,
            expected,
            "{config:?}"
        );
    }
    Ok(())
}

#[test]
fn batch_that_has_no_real_token_in_a_row_is_refused() -> Result<()> {
    let padded = |lengths: Vec<usize>| Source::from_padded(vec![1, 2, 3, 0], lengths, TOKENS);
    assert!(padded(vec![2, 0]).is_err());
    let source = padded(vec![2, 1])?;
    for lengths in [vec![2, 0], vec![3, 1]] {
        let target = Batch::with_target(source.clone(), vec![1, 12, 12, 0], lengths, TOKENS);
        assert!(target.is_err());
    }
    assert!(Batch::with_target(source, Vec::new(), vec![0, 0], TOKENS).is_err());
    Ok(())
}

#[test]
fn weights_of_another_cell_are_refused_by_its_name() -> Result<()> {
    for (cell, other) in each_with_each(&cells(), &cells()) {
        let model = |cell| {
            let config = ModelConfig {
                cell,
                ..ModelConfig::default()
            };
            fresh(&config, 0)
        };
        let loaded = load_weights(
            model(cell)?.params(),
            &save_weights(model(other)?.params())?,
            &LoadOptions::default(),
        );
        assert_eq!(loaded.is_ok(), cell == other);
        if let Err(error) = loaded {
            let says = error.to_string();
            let both = [other, cell].map(|cell| format!("cell = \"{cell}\""));
            assert!(both.iter().all(|cell| says.contains(cell)), "{says}");
        }
    }
    Ok(())
}

fn each_with_each<A: Copy, B: Copy>(left: &[A], right: &[B]) -> Vec<(A, B)> {
    left.iter()
        .flat_map(|a| right.iter().map(move |b| (*a, *b)))
        .collect()
}

/// The states of a layer, and every vector of the last one.
fn run_layer(
    cell: CellKind,
    kernels: Kernels,
    x: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
) -> Result<(Tensor, Vec<Tensor>)> {
    Ok(match cell {
        CellKind::Gru => {
            let gru = match kernels {
                Kernels::Fused => gru,
                Kernels::Reference => reference::gru,
            };
            let output = gru(x, weights, rows, direction, None)?;
            (output.states, vec![output.last])
        }
        CellKind::Lstm => {
            let lstm = match kernels {
                Kernels::Fused => lstm,
                Kernels::Reference => reference::lstm,
            };
            let output = lstm(x, weights, rows, direction, None)?;
            (output.states, vec![output.last.hidden, output.last.cell])
        }
    })
}

/// Logits on the path that the model takes.
fn logits(model: &mut Seq2Seq, batch: &Batch) -> Result<Tensor> {
    model.logits(batch, &Forcing::Always, Mode::Evaluate)
}

/// The logits of the real positions of each row, `[T, V]`.
fn rows(model: &mut Seq2Seq, batch: &Batch) -> Result<Vec<Tensor>> {
    let logits = logits(model, batch)?;
    let lengths = batch.target_lengths().iter().enumerate();
    lengths.map(|(row, len)| logits.i((row, ..*len))).collect()
}

/// Nats a real token, teacher-forced.
fn loss(model: &mut Seq2Seq, batch: &Batch) -> Result<f64> {
    let score = model.loss(batch, &Forcing::Always)?;
    Ok(score.loss_sum / batch.n_tokens() as f64)
}

fn source(sources: &[Vec<u32>]) -> Result<Source> {
    Source::new(sources, TOKENS)
}

/// [`reversals`], wider by `extra` and with `filler` in the padding.
fn padded(sources: &[Vec<u32>], extra: usize, filler: u32) -> Result<Batch> {
    let fill = |rows: Vec<Vec<u32>>| {
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        let width = lengths.iter().max().map_or(0, |longest| longest + extra);
        let mut padded = Vec::new();
        for row in rows {
            padded.extend_from_slice(&row);
            padded.resize(padded.len() + width - row.len(), filler);
        }
        (padded, lengths)
    };
    let targets = sources.iter().map(|source| {
        let mut target: Vec<u32> = source.iter().rev().copied().collect();
        target.push(TOKENS.eos);
        target
    });
    let (target_out, target_lengths) = fill(targets.collect());
    let (source, lengths) = fill(sources.to_vec());
    let source = Source::from_padded(source, lengths, TOKENS)?;
    Batch::with_target(source, target_out, target_lengths, TOKENS)
}

/// Makes a token likely, or unlikely, at every step.
fn favor(model: &Seq2Seq, token: u32, by: f32) -> Result<()> {
    let names = ["decoder.output.bias", "decoder.readout.bias"];
    let bias = names.into_iter().find_map(|name| model.params().get(name));
    let bias = bias.expect("every model has one");
    let mut values = bias.to_vec1::<f32>()?;
    for logits in values.chunks_exact_mut(TOKENS.size) {
        logits[token as usize] += by;
    }
    bias.set(&Tensor::new(values, device())?)
}

fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
    Ok(numbers.into_iter().map(f32::to_bits).collect())
}

#[track_caller]
fn assert_near(got: &[f32], expected: &[f32], tolerance: f32) {
    let tolerance = on_device(f64::from(tolerance)) as f32;
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() <= tolerance,
            "{got} against {expected}"
        );
    }
}

/// A model of the reference kernels that is as small as one can be.
fn narrow(cell: CellKind) -> Result<Seq2Seq> {
    let config = ModelConfig {
        cell,
        kernels: Kernels::Reference,
        embedding: NonZeroUsize::MIN,
        hidden: NonZeroUsize::MIN,
        decoder: NonZeroUsize::MIN.into(),
        ..ModelConfig::default()
    };
    fresh(&config, 0)
}

#[test]
fn a_graph_needs_no_more_stack_than_is_said() -> Result<()> {
    // A share of the greatest length on that share of the stack.
    const SHARE: usize = 64;
    let len = MAX_REFERENCE_LEN / SHARE;
    for cell in cells() {
        let train = move || -> Result<()> {
            let mut model = narrow(cell)?;
            let sequence = vec![vec![1; len]];
            let batch = Batch::new(&sequence, &sequence, TOKENS)?;
            model.gradients(&batch, &Forcing::Never, &Noise::new(0, 1))?;
            let source = Source::new(&sequence, TOKENS)?;
            greedy(&model, &source, Stop::default())?;
            Ok(())
        };
        let thread = std::thread::Builder::new().stack_size(REFERENCE_STACK_BYTES / SHARE);
        let thread = thread.spawn(train).expect("a thread");
        thread.join().expect("the stack is large enough")?;
    }
    Ok(())
}

#[test]
fn sequences_too_long_for_a_graph_are_refused_with_the_bound() -> Result<()> {
    let mut model = narrow(CellKind::Gru)?;
    let (long, short) = (vec![vec![1; MAX_REFERENCE_LEN + 1]], vec![vec![1; 2]]);
    for (source, target) in [(&long, &short), (&short, &long)] {
        let batch = Batch::new(source, target, TOKENS)?;
        let error = model.loss(&batch, &Forcing::Always).unwrap_err();
        assert!(
            error.to_string().contains("its maximum is 4096 tokens"),
            "{error}"
        );
    }
    Ok(())
}

#[test]
fn a_batch_of_another_vocabulary_is_refused_on_both_paths() -> Result<()> {
    let larger = Tokens {
        size: TOKENS.size + 5,
        ..TOKENS
    };
    let rows = [vec![larger.size as u32 - 1, 1]];
    let batch = Batch::new(&rows, &rows, larger)?;
    let source = batch.source();
    let forcing = Forcing::Always;
    let noise = Noise::new(0, 0);
    for kernels in [Kernels::Fused, Kernels::Reference] {
        let config = ModelConfig {
            kernels,
            ..ModelConfig::default()
        };
        let mut model = Seq2Seq::new(&config, TOKENS, 0, DType::F32, device())?;
        let errors = [
            model.logits(&batch, &forcing, Mode::Evaluate).err(),
            model.loss(&batch, &forcing).err(),
            model.gradients(&batch, &forcing, &noise).err(),
            model.encode(source, Mode::Evaluate).err(),
        ];
        let mut generator = Generator::new(&model)?;
        let of_generator = [
            generator.greedy(source, Stop::default()).err(),
            generator.score(source, &rows).err(),
            generator.loss(&batch, &forcing).err(),
            generator.beam(source, &Beam::new(2)).err(),
        ];
        for error in errors.into_iter().chain(of_generator) {
            let error = error.expect("the batch is refused").to_string();
            assert!(error.contains("made with Tokens { size: 18"), "{error}");
        }
    }
    Ok(())
}

#[test]
fn bos_and_eos_outside_the_vocabulary_are_refused() {
    for tokens in [Tokens { size: 0, ..TOKENS }, Tokens { bos: 99, ..TOKENS }] {
        let config = ModelConfig::default();
        let model = Seq2Seq::new(&config, tokens, 0, DType::F32, device());
        let error = model.unwrap_err().to_string();
        assert!(error.contains("outside the vocabulary"), "{error}");
        assert!(Batch::new(&[vec![0]], &[vec![0]], tokens).is_err());
    }
}
