//! Decoding step by step, with interventions.

use std::num::NonZeroUsize;

use candle_core::Result;
use s2s_model::{Interventions, OutputLimit, Seq2Seq, Source, Stop, TraceStep, trace};

use crate::architectures::{architectures, decisive, greedy, on_device, sources};

/// Shorter than what a model that never stops writes.
const LIMIT: OutputLimit = OutputLimit::fixed(NonZeroUsize::new(24).unwrap());

const SOURCE: [u32; 7] = [3, 1, 4, 1, 5, 9, 2];

/// A trace of [`SOURCE`] by a model whose output depends on what it attends to, for each mechanism
/// with weights.
fn with_attention(check: impl Fn(&Seq2Seq, &[TraceStep]) -> Result<()>) -> Result<()> {
    for config in architectures(3) {
        if config.attention.has_weights() {
            let model = decisive(&config, 1)?;
            check(
                &model,
                &trace(&model, &SOURCE, LIMIT, &Interventions::default())?,
            )?;
        }
    }
    Ok(())
}

fn tokens(steps: &[TraceStep]) -> Vec<u32> {
    steps.iter().map(|step| step.token).collect()
}

#[test]
fn a_trace_without_changes_is_greedy_decoding() -> Result<()> {
    for config in architectures(3) {
        let model = decisive(&config, 1)?;
        for source in sources() {
            let alone = Source::new(std::slice::from_ref(&source), model.tokens())?;
            let mut decoded = greedy(&model, &alone, Stop::AtEos(LIMIT))?.remove(0);
            if decoded.stopped {
                decoded.tokens.push(model.tokens().eos);
            }
            let steps = trace(&model, &source, LIMIT, &Interventions::default())?;
            assert_eq!(tokens(&steps), decoded.tokens, "{config:?}");
            for (step, expected) in steps.iter().zip(&decoded.weights) {
                let differences = step
                    .weights
                    .iter()
                    .zip(expected)
                    .map(|(a, b)| (a - b).abs());
                let worst = differences.fold(0.0, f32::max);
                // A normalization amplifies rounding where the numbers of a row are close to each other.
                let tolerance = if config.layer_norm { 1e-3 } else { 1e-4 };
                assert!(
                    f64::from(worst) < on_device(tolerance),
                    "{worst}: {config:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn attention_gives_no_weight_to_an_excluded_position() -> Result<()> {
    with_attention(|model, _| {
        let changes = Interventions {
            excluded: vec![0, 6],
            ..Interventions::default()
        };
        for step in trace(model, &SOURCE, LIMIT, &changes)? {
            assert_eq!((step.weights[0], step.weights[6]), (0.0, 0.0));
        }
        Ok(())
    })
}

#[test]
fn a_high_temperature_makes_all_weights_equal() -> Result<()> {
    with_attention(|model, _| {
        let changes = Interventions {
            temperature: 1e9,
            ..Interventions::default()
        };
        for weight in trace(model, &SOURCE, LIMIT, &changes)?
            .iter()
            .flat_map(|step| &step.weights)
        {
            assert!((weight - 1.0 / 7.0).abs() < 1e-6, "{weight}");
        }
        Ok(())
    })
}

#[test]
fn a_forced_token_changes_no_step_before_it() -> Result<()> {
    with_attention(|model, unchanged| {
        let at = unchanged.len() / 2;
        let forced = 1 + unchanged[at].choice % 10;
        let changes = Interventions {
            forced: [(at, forced)].into(),
            ..Interventions::default()
        };
        let changed = trace(model, &SOURCE, LIMIT, &changes)?;
        assert_eq!(changed[..at], unchanged[..at]);
        assert_eq!(
            (changed[at].token, changed[at].choice),
            (forced, unchanged[at].choice)
        );
        Ok(())
    })
}

#[test]
fn changes_that_do_not_fit_are_refused() -> Result<()> {
    let model = decisive(&architectures(3)[0], 0)?;
    let refused = |changes: Interventions| {
        trace(&model, &SOURCE, LIMIT, &changes)
            .unwrap_err()
            .to_string()
    };
    let unchanged = Interventions::default;
    let excluded = vec![7];
    assert!(
        refused(Interventions {
            excluded,
            ..unchanged()
        })
        .contains("position 7")
    );
    let forced = [(0, 13)].into();
    assert!(
        refused(Interventions {
            forced,
            ..unchanged()
        })
        .contains("token 13")
    );
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let message = refused(Interventions {
            temperature,
            ..unchanged()
        });
        assert!(message.contains("positive number"), "{message}");
    }
    Ok(())
}
