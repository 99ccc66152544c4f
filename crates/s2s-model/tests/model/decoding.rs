//! Beam search, sampling and forced decoding: what holds of every model.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use candle_core::{D, DType, IndexOp, Result};
use candle_nn::ops::log_softmax;
use s2s_model::{
    Batch, BatchLoss, Beam, Constraints, Decoded, Forcing, Generator, Interventions, Kernels,
    LengthPenalty, Mode, ModelConfig, OutputLimit, Sampling, Seq2Seq, Source, Stop, Stopping,
    Tokens, trace,
};

use crate::architectures::{
    FIXED_LENGTH, TOKENS, architectures, decisive, device, fresh, greedy, on_device, size, sources,
};

/// Of logits up to 10 large, in single precision.
const TOLERANCE: f64 = 1e-5;

const PENALTIES: [LengthPenalty; 4] = [
    LengthPenalty::None,
    LengthPenalty::Gnmt(0.6),
    LengthPenalty::Gnmt(2.0),
    LengthPenalty::Average,
];

/// One model for each cell, attention or other decoder, and implementation.
fn configs() -> Vec<ModelConfig> {
    let all = architectures(4).into_iter();
    let mut found: Vec<ModelConfig> = Vec::new();
    for config in all {
        let is_alike = |other: &ModelConfig| {
            let is_transducer = |c: &ModelConfig| c.decoder.transducer().is_some();
            let of = |c: &ModelConfig| (c.cell, c.kernels, c.attention.clone(), is_transducer(c));
            of(other) == of(&config)
        };
        match found.iter_mut().find(|other| is_alike(other)) {
            Some(other) => *other = config, // the last has two layers
            None => found.push(config),
        }
    }
    found
}

fn beam(width: usize, n_best: usize, length_penalty: LengthPenalty) -> Beam {
    Beam {
        n_best: size(n_best),
        length_penalty,
        ..Beam::new(width)
    }
}

fn at_most(n_tokens: usize) -> Constraints {
    Constraints {
        stop: Stop::AtEos(OutputLimit::fixed(size(n_tokens))),
        ..Constraints::default()
    }
}

fn search(model: &Seq2Seq, sources: &[Vec<u32>], beam: &Beam) -> Result<Vec<Vec<Decoded>>> {
    let source = Source::new(sources, model.tokens())?;
    Generator::new(model)?.with_attention().beam(&source, beam)
}

#[track_caller]
fn assert_near(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        let distance = f64::from((got - expected).abs());
        assert!(distance <= on_device(TOLERANCE), "{got} against {expected}");
    }
}

/// Fails unless outputs agree up to rounding.
#[track_caller]
fn assert_alike(got: &[Decoded], expected: &[Decoded]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert_eq!(
            (&got.tokens, got.stopped),
            (&expected.tokens, expected.stopped)
        );
        assert_near(&got.log_probs, &expected.log_probs);
        assert_near(&got.weights.concat(), &expected.weights.concat());
    }
}

#[test]
fn a_beam_of_one_is_greedy_decoding_to_the_bit() -> Result<()> {
    let source = Source::new(&sources(), TOKENS)?;
    for config in architectures(4) {
        let model = decisive(&config, 0)?;
        for stop in [Stop::default(), FIXED_LENGTH] {
            let expected = greedy(&model, &source, stop)?;
            for (stopping, penalty) in [Stopping::Exact, Stopping::Heuristic]
                .into_iter()
                .zip(PENALTIES)
            {
                let beam = Beam {
                    stopping,
                    constraints: Constraints {
                        stop,
                        ..Constraints::default()
                    },
                    ..beam(1, 1, penalty)
                };
                let found = Generator::new(&model)?
                    .with_attention()
                    .beam(&source, &beam)?;
                assert_eq!(found.concat(), expected, "{config:?}");
            }
        }
    }
    Ok(())
}

const FEW: Tokens = Tokens {
    size: 5,
    bos: 3,
    eos: 4,
};

/// Log-probabilities `[V]` after each prefix of at most `limit` tokens, EOS not included, by the definition.
fn all_log_probs(
    model: &Seq2Seq,
    source: &[u32],
    limit: usize,
) -> Result<BTreeMap<Vec<u32>, Vec<f32>>> {
    let mut prefixes = vec![Vec::new()];
    for _ in 0..limit {
        let longer = |prefix: &Vec<u32>| {
            (0..FEW.eos)
                .map(|t| [&prefix[..], &[t]].concat())
                .collect::<Vec<_>>()
        };
        prefixes = prefixes.iter().flat_map(longer).collect();
    }
    let batch = Batch::new(&vec![source.to_vec(); prefixes.len()], &prefixes, FEW)?;
    let logits = model
        .forward(&batch, &Forcing::Always, Mode::Evaluate)?
        .logits;
    let log_probs = log_softmax(&logits, D::Minus1)?;
    let mut found = BTreeMap::new();
    for (row, prefix) in prefixes.iter().enumerate() {
        for n in 0..=limit {
            let log_probs = log_probs.i((row, n))?.to_dtype(DType::F32)?;
            found.insert(prefix[..n].to_vec(), log_probs.to_vec1()?);
        }
    }
    Ok(found)
}

/// All outputs of at most `limit` tokens with their score, best first.
fn exhaustive(
    log_probs: &BTreeMap<Vec<u32>, Vec<f32>>,
    limit: usize,
    penalty: LengthPenalty,
) -> Vec<(f64, Vec<u32>)> {
    let mut found = Vec::new();
    for prefix in log_probs.keys() {
        let total = |n: usize| -> f64 {
            (0..n)
                .map(|i| f64::from(log_probs[&prefix[..i]][prefix[i] as usize]))
                .sum()
        };
        let (n, eos) = (prefix.len(), f64::from(log_probs[prefix][FEW.eos as usize]));
        found.push(match n < limit {
            true => (penalty.score(total(n) + eos, n + 1), prefix.clone()),
            false => (penalty.score(total(n), n), prefix.clone()),
        });
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
}

#[test]
fn a_wide_beam_finds_what_exhaustive_search_finds() -> Result<()> {
    const LIMIT: usize = 3;
    let source = vec![1, 2, 0, 2];
    for config in configs() {
        let model = Seq2Seq::new(&config, FEW, 7, DType::F32, device())?;
        let log_probs = all_log_probs(&model, &source, LIMIT)?;
        for penalty in PENALTIES {
            let beam = Beam {
                constraints: at_most(LIMIT),
                ..beam(log_probs.len(), 10, penalty)
            };
            let found = search(&model, std::slice::from_ref(&source), &beam)?.remove(0);
            let expected = exhaustive(&log_probs, LIMIT, penalty);
            assert_eq!(found.len(), 10);
            for (found, (score, tokens)) in found.iter().zip(expected) {
                let got = penalty.score(found.log_prob(), found.log_probs.len());
                assert_eq!(found.tokens, tokens, "{penalty:?} {config:?}");
                assert!((got - score).abs() < on_device(TOLERANCE), "{got} {score}");
            }
        }
    }
    Ok(())
}

/// A beam search that never stops early, from the log-probabilities of every prefix: hypotheses are sorted by
/// log-probability, and outputs by score.
fn plain_beam(
    log_probs: &BTreeMap<Vec<u32>, Vec<f32>>,
    limit: usize,
    width: usize,
    penalty: LengthPenalty,
) -> Vec<(f64, Vec<u32>)> {
    let (mut live, mut ended) = (vec![(0.0, Vec::new())], Vec::new());
    for n in 1..=limit {
        let mut next: Vec<(f64, Vec<u32>)> = Vec::new();
        for (total, tokens) in &live {
            let continued = log_probs[tokens].iter().zip(0..FEW.size as u32);
            next.extend(
                continued.map(|(p, t)| (total + f64::from(*p), [&tokens[..], &[t]].concat())),
            );
        }
        next.sort_by(|a, b| b.0.total_cmp(&a.0));
        next.truncate(width);
        live.clear();
        for (total, mut tokens) in next {
            if tokens.last() == Some(&FEW.eos) {
                tokens.pop();
                ended.push((penalty.score(total, n), tokens));
            } else if n == limit {
                ended.push((penalty.score(total, n), tokens));
            } else {
                live.push((total, tokens));
            }
        }
    }
    ended.sort_by(|a, b| b.0.total_cmp(&a.0));
    ended
}

#[test]
fn exact_stopping_does_not_change_the_result_of_a_narrow_beam() -> Result<()> {
    const LIMIT: usize = 5;
    let config = ModelConfig {
        hidden: size(3),
        decoder: size(4).into(),
        embedding: size(2),
        layers: size(1),
        ..ModelConfig::default()
    };
    for seed in 0..6 {
        let model = Seq2Seq::new(&config, FEW, seed, DType::F32, device())?;
        for (_, var) in model.params().iter() {
            var.set(&(var.as_detached_tensor() * 3.0)?)?;
        }
        let source = vec![1, 2, 0];
        let log_probs = all_log_probs(&model, &source, LIMIT)?;
        for (width, penalty) in [2, 3, 5]
            .into_iter()
            .flat_map(|w| PENALTIES.map(|p| (w, p)))
        {
            let beam = Beam {
                constraints: at_most(LIMIT),
                ..beam(width, width, penalty)
            };
            let found = search(&model, std::slice::from_ref(&source), &beam)?.remove(0);
            let expected = plain_beam(&log_probs, LIMIT, width, penalty);
            assert_eq!(found.len(), width);
            let found: Vec<&Vec<u32>> = found.iter().map(|output| &output.tokens).collect();
            let expected: Vec<&Vec<u32>> = expected.iter().map(|(_, t)| t).take(width).collect();
            assert_eq!(found, expected, "{width} {penalty:?} {seed}");
        }
    }
    Ok(())
}

#[test]
fn the_heuristic_stops_when_as_many_outputs_have_ended_as_the_beam_is_wide() -> Result<()> {
    let model = fresh(&configs()[0], 0)?;
    let bias = model
        .params()
        .get("decoder.output.bias")
        .expect("every model has one");
    let mut values = bias.to_vec1::<f32>()?;
    values[TOKENS.eos as usize] += 1.5;
    bias.set(&candle_core::Tensor::new(values, device())?)?;
    let lengths = |stopping| -> Result<usize> {
        let beam = Beam {
            stopping,
            ..beam(3, 3, LengthPenalty::Gnmt(3.0))
        };
        let found = search(&model, &[vec![1, 2, 3, 4, 5, 6]], &beam)?.remove(0);
        Ok(found
            .iter()
            .map(|output| output.log_probs.len())
            .max()
            .unwrap_or(0))
    };
    // A great α favors the longest outputs, which only the exact search waits for.
    assert!(lengths(Stopping::Heuristic)? < lengths(Stopping::Exact)?);
    Ok(())
}

#[test]
fn outputs_have_the_log_probs_and_ranks_of_forced_decoding() -> Result<()> {
    for config in configs() {
        let model = decisive(&config, 0)?;
        let found = search(&model, &sources(), &beam(4, 4, LengthPenalty::None))?;
        for (source, outputs) in sources().into_iter().zip(found) {
            let repeated = vec![source; outputs.len()];
            let targets: Vec<Vec<u32>> =
                outputs.iter().map(|output| output.tokens.clone()).collect();
            let source = Source::new(&repeated, TOKENS)?;
            let scored = Generator::new(&model)?.score(&source, &targets)?;
            let batch = Batch::new(&repeated, &targets, TOKENS)?;
            let logits = model
                .forward(&batch, &Forcing::Always, Mode::Evaluate)?
                .logits;
            let defined = log_softmax(&logits, D::Minus1)?.to_vec3::<f32>()?;
            for (row, (output, scored)) in outputs.iter().zip(&scored).enumerate() {
                let n = output.log_probs.len();
                assert_near(&output.log_probs, &scored.log_probs[..n]);
                let with_eos = output.tokens.iter().chain([&TOKENS.eos]);
                let defined: Vec<f32> = with_eos
                    .zip(&defined[row])
                    .map(|(t, p)| p[*t as usize])
                    .collect();
                assert_near(&scored.log_probs, &defined);
            }
        }
        let source = Source::new(&sources(), TOKENS)?;
        let best = greedy(&model, &source, Stop::default())?;
        let targets: Vec<Vec<u32>> = best.iter().map(|output| output.tokens.clone()).collect();
        for (output, scored) in best
            .iter()
            .zip(Generator::new(&model)?.score(&source, &targets)?)
        {
            assert!(
                scored.ranks[..output.log_probs.len()]
                    .iter()
                    .all(|rank| *rank == 1)
            );
        }
    }
    Ok(())
}

#[test]
fn the_perplexity_is_the_inverse_of_the_mean_probability() -> Result<()> {
    let model = fresh(&configs()[0], 0)?;
    let source = Source::new(&[vec![1, 2]], TOKENS)?;
    let scored = Generator::new(&model)?
        .score(&source, &[vec![2, 1]])?
        .remove(0);
    let product: f64 = scored
        .log_probs
        .iter()
        .map(|p| f64::from(*p).exp())
        .product();
    assert!((scored.perplexity() - product.powf(-1.0 / 3.0)).abs() < 1e-9);
    assert!(
        (scored.perplexity() - TOKENS.size as f64).abs() < 2.0,
        "a fresh model guesses"
    );
    Ok(())
}

#[test]
fn padding_and_companions_do_not_change_a_beam() -> Result<()> {
    let beam = beam(4, 3, LengthPenalty::Average);
    for config in configs() {
        let model = decisive(&config, 0)?;
        let together = search(&model, &sources(), &beam)?;
        for (source, expected) in sources().into_iter().zip(&together) {
            let alone = search(&model, &[source], &beam)?.remove(0);
            match model.is_fused() && device().is_cpu() {
                true => assert_eq!(alone, *expected, "{config:?}"),
                false => assert_alike(&alone, expected),
            }
        }
    }
    Ok(())
}

#[test]
fn both_paths_find_the_same_beam() -> Result<()> {
    let beam = beam(4, 3, LengthPenalty::Gnmt(1.0));
    for config in configs() {
        let reference = ModelConfig {
            kernels: Kernels::Reference,
            ..config.clone()
        };
        let found = search(&decisive(&config, 1)?, &sources(), &beam)?;
        let expected = search(&decisive(&reference, 1)?, &sources(), &beam)?;
        assert_alike(&found.concat(), &expected.concat());
    }
    Ok(())
}

#[test]
fn each_hypothesis_has_the_attention_of_its_own_history() -> Result<()> {
    for config in configs() {
        let model = decisive(&config, 0)?;
        let source = sources().remove(1);
        let outputs = search(
            &model,
            std::slice::from_ref(&source),
            &beam(4, 4, LengthPenalty::None),
        )?;
        for output in &outputs[0] {
            if !model.has_attention() {
                assert!(output.weights.is_empty(), "{config:?}");
                continue;
            }
            let steps = output.log_probs.len();
            let mut forced: BTreeMap<usize, u32> =
                output.tokens.iter().copied().enumerate().collect();
            forced.insert(output.tokens.len(), TOKENS.eos);
            let forced = Interventions {
                forced,
                ..Interventions::default()
            };
            let trace = trace(&model, &source, OutputLimit::fixed(size(steps)), &forced)?;
            assert_eq!(trace.len(), output.weights.len());
            for (step, weights) in trace.iter().zip(&output.weights) {
                assert_near(weights, &step.weights);
            }
        }
    }
    Ok(())
}

#[test]
fn outputs_keep_to_the_constraints() -> Result<()> {
    for config in configs() {
        let model = decisive(&config, 0)?;
        let constraints = Constraints {
            min_len: 4,
            prefix: vec![9, 9],
            allowed: vec![1, 2, 3, 4],
            no_repeat_ngram: 2,
            ..at_most(8)
        };
        let sampling = Sampling {
            draws: size(4),
            constraints: constraints.clone(),
            ..Sampling::default()
        };
        let beam = Beam {
            constraints,
            ..beam(4, 4, LengthPenalty::None)
        };
        let source = Source::new(&sources(), TOKENS)?;
        let mut generator = Generator::new(&model)?;
        let found = generator.beam(&source, &beam)?;
        let drawn = generator.sample(&source, &[0, 1, 2, 3], &sampling)?;
        for output in found.concat().into_iter().chain(drawn.concat()) {
            let tokens = &output.tokens;
            assert!((4..=8).contains(&tokens.len()), "{tokens:?}");
            assert_eq!(tokens[..2], [9, 9]);
            assert!(
                tokens[2..].iter().all(|token| (1..=4).contains(token)),
                "{tokens:?}"
            );
            let mut pairs: Vec<&[u32]> = tokens.windows(2).collect();
            pairs.sort_unstable();
            pairs.dedup();
            assert_eq!(pairs.len(), tokens.len() - 1, "{tokens:?}");
        }
    }
    Ok(())
}

#[test]
fn a_repetition_penalty_ranks_but_is_not_part_of_the_log_probs() -> Result<()> {
    let model = decisive(&configs()[0], 0)?;
    let source = vec![5, 3, 5];
    let penalized = Beam {
        constraints: Constraints {
            repetition_penalty: 5.0,
            ..at_most(6)
        },
        ..beam(3, 1, LengthPenalty::None)
    };
    let plain = Beam {
        constraints: at_most(6),
        ..beam(3, 1, LengthPenalty::None)
    };
    let n_distinct = |output: &Decoded| {
        output
            .tokens
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    let [penalized, plain] =
        [penalized, plain].map(|beam| search(&model, std::slice::from_ref(&source), &beam));
    let (penalized, plain) = (penalized?.remove(0).remove(0), plain?.remove(0).remove(0));
    assert!(n_distinct(&plain) < plain.tokens.len(), "{plain:?}");
    assert_eq!(
        n_distinct(&penalized),
        penalized.tokens.len(),
        "{penalized:?}"
    );
    let source = Source::new(&[source], TOKENS)?;
    let scored = Generator::new(&model)?.score(&source, std::slice::from_ref(&penalized.tokens))?;
    assert_near(
        &penalized.log_probs,
        &scored[0].log_probs[..penalized.log_probs.len()],
    );
    Ok(())
}

#[test]
fn constraints_that_cannot_hold_are_refused() -> Result<()> {
    let model = fresh(&configs()[0], 0)?;
    let source = Source::new(&[vec![1]], TOKENS)?;
    for (constraints, part) in [
        (
            Constraints {
                prefix: vec![1; 3],
                ..at_most(2)
            },
            "3 tokens, but the output may have only 2",
        ),
        (
            Constraints {
                prefix: vec![13],
                ..at_most(2)
            },
            "token 13 lies outside the vocabulary of 13",
        ),
        (
            Constraints {
                prefix: vec![TOKENS.eos],
                ..at_most(2)
            },
            "end of the output",
        ),
        (
            Constraints {
                allowed: vec![99],
                ..at_most(2)
            },
            "token 99",
        ),
        (
            Constraints {
                repetition_penalty: 0.0,
                ..at_most(2)
            },
            "got 0",
        ),
    ] {
        let beam = Beam {
            constraints,
            ..Beam::new(2)
        };
        let error = Generator::new(&model)?.beam(&source, &beam).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    Ok(())
}

#[test]
fn if_constraints_leave_no_token_an_output_is_cut() -> Result<()> {
    let model = fresh(&configs()[0], 0)?;
    let constraints = Constraints {
        allowed: vec![1, 2],
        no_repeat_ngram: 1,
        min_len: 5,
        ..at_most(9)
    };
    let beam = Beam {
        constraints: constraints.clone(),
        ..beam(3, 2, LengthPenalty::None)
    };
    let sampling = Sampling {
        constraints,
        ..Sampling::default()
    };
    let source = Source::new(&[vec![1]], TOKENS)?;
    let mut generator = Generator::new(&model)?;
    let outputs = generator.beam(&source, &beam)?.concat();
    assert_eq!(outputs.len(), 2);
    for output in outputs
        .into_iter()
        .chain(generator.sample(&source, &[0], &sampling)?.concat())
    {
        assert!(output.tokens.len() == 2 && !output.stopped, "{output:?}");
    }
    Ok(())
}

#[test]
fn a_draw_depends_on_its_seed_its_line_and_its_number_alone() -> Result<()> {
    let draws = |n: usize| Sampling {
        draws: size(n),
        seed: 5,
        ..Sampling::default()
    };
    for config in configs() {
        let model = decisive(&config, 0)?;
        if !model.is_fused() || !device().is_cpu() {
            continue; // sums depend on the batch there
        }
        let mut generator = Generator::new(&model)?.with_attention();
        let source = Source::new(&sources(), TOKENS)?;
        let together = generator.sample(&source, &[10, 11, 12, 13], &draws(3))?;
        for (index, (source, expected)) in sources().into_iter().zip(&together).enumerate() {
            let source = Source::new(&[source], TOKENS)?;
            let line = 10 + index as u64;
            let alone = generator.sample(&source, &[line], &draws(2))?.remove(0);
            assert_eq!(alone, expected[..2], "{config:?}");
            let other_line = generator.sample(&source, &[line + 1], &draws(3))?.remove(0);
            let other_seed = Sampling {
                seed: 6,
                ..draws(3)
            };
            let other_seed = generator.sample(&source, &[line], &other_seed)?.remove(0);
            assert!(
                other_line != *expected && other_seed != *expected,
                "{config:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn draws_have_the_frequencies_of_the_model() -> Result<()> {
    const N: usize = 4000;
    let model = fresh(&configs()[0], 0)?;
    let source = Source::new(&[vec![1, 2]], TOKENS)?;
    let sampling = Sampling {
        draws: size(N),
        constraints: at_most(1),
        ..Sampling::default()
    };
    let drawn = Generator::new(&model)?
        .sample(&source, &[0], &sampling)?
        .remove(0);
    let of_first = trace(
        &model,
        &[1, 2],
        OutputLimit::fixed(NonZeroUsize::MIN),
        &Interventions::default(),
    )?;
    for (token, probability) in of_first[0].probabilities.iter().enumerate() {
        let is_token = |output: &&Decoded| match output.tokens.first() {
            Some(first) => *first as usize == token,
            None => token == TOKENS.eos as usize,
        };
        let frequency = drawn.iter().filter(is_token).count() as f64 / N as f64;
        let p = f64::from(*probability);
        let deviation = (p * (1.0 - p) / N as f64).sqrt();
        assert!(
            (frequency - p).abs() < 4.5 * deviation,
            "{token}: {frequency} against {p}"
        );
    }
    Ok(())
}

#[test]
fn drawing_from_the_most_probable_token_is_greedy_decoding() -> Result<()> {
    let source = Source::new(&sources(), TOKENS)?;
    for config in configs() {
        let model = decisive(&config, 0)?;
        let expected = greedy(&model, &source, Stop::default())?;
        let sampling = Sampling {
            top_k: NonZeroUsize::new(1),
            ..Sampling::default()
        };
        let drawn =
            Generator::new(&model)?
                .with_attention()
                .sample(&source, &[0, 1, 2, 3], &sampling)?;
        assert_alike(&drawn.concat(), &expected);
    }
    Ok(())
}

#[test]
fn the_loss_of_a_generator_is_that_of_its_model() -> Result<()> {
    for config in configs() {
        let mut model = decisive(&config, 0)?;
        let batch = Batch::new(&sources(), &sources(), TOKENS)?;
        for forcing in [Forcing::Always, Forcing::Never] {
            let expected = model.loss(&batch, &forcing)?;
            let got = Generator::ensemble(&[&model, &model])?.loss(&batch, &forcing)?;
            let mean = |loss: &BatchLoss| (loss.loss_sum / batch.n_tokens() as f64) as f32;
            assert_near(&[mean(&got)], &[mean(&expected)]);
            let rows = |predictions: &[u32]| -> Vec<Vec<u32>> {
                let rows = predictions.chunks_exact(batch.target_len());
                let rows = rows.zip(batch.target_lengths());
                rows.map(|(row, len)| row[..*len].to_vec()).collect()
            };
            assert_eq!(rows(&got.predictions), rows(&expected.predictions));
        }
    }
    Ok(())
}

#[test]
fn an_ensemble_has_the_mean_probability_of_its_models() -> Result<()> {
    let [first, .., last] = &configs()[..] else {
        panic!("there are several configurations");
    };
    let models = [decisive(first, 0)?, decisive(last, 1)?];
    let source = Source::new(&sources(), TOKENS)?;
    let targets = sources();
    let mut ensemble = Generator::ensemble(&[&models[0], &models[1]])?;
    let together = ensemble.score(&source, &targets)?;
    let [one, two] = [&models[0], &models[1]].map(|m| Generator::new(m)?.score(&source, &targets));
    for ((together, one), two) in together.iter().zip(one?).zip(two?) {
        let pairs = one.log_probs.iter().zip(&two.log_probs);
        let means: Vec<f32> = pairs
            .map(|(a, b)| ((a.exp() + b.exp()) / 2.0).ln())
            .collect();
        assert_near(&together.log_probs, &means);
    }
    let beam = beam(3, 3, LengthPenalty::None);
    let twice = Generator::ensemble(&[&models[0], &models[0]])?
        .with_attention()
        .beam(&source, &beam)?;
    let once = Generator::new(&models[0])?
        .with_attention()
        .beam(&source, &beam)?;
    assert_alike(&twice.concat(), &once.concat());
    Ok(())
}

#[test]
fn an_ensemble_of_different_vocabularies_is_refused() -> Result<()> {
    let config = ModelConfig::default();
    let [one, other] =
        [TOKENS, FEW].map(|tokens| Seq2Seq::new(&config, tokens, 0, DType::F32, device()));
    let error = Generator::ensemble(&[&one?, &other?]).unwrap_err();
    assert!(error.to_string().contains("same vocabulary"), "{error}");
    assert!(Generator::ensemble(&[]).is_err());
    Ok(())
}
