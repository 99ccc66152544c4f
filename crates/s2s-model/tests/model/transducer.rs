//! The transducer: how its head moves, and what training adds to its loss.

use candle_core::{DType, Device, Result, Tensor};
use s2s_model::{
    Automaton, Batch, BatchLoss, Decoded, DecoderConfig, Forcing, ForwardOutput, Kernels, Mode,
    ModelConfig, Noise, OutputLimit, Seq2Seq, Source, Stop, TransducerConfig, automaton_steps,
};

use crate::architectures::{
    TOKENS, greedy, reversals, size, sources, transducer, with_readout_per_mode,
};
use crate::closeness::{assert_close, distance, largest, numbers};

const REACH: usize = 2;

/// A transducer in double precision with parameters of the order of 1.
fn model(config: &ModelConfig) -> Result<Seq2Seq> {
    let model = Seq2Seq::new(config, TOKENS, 3, DType::F64, &Device::Cpu)?;
    for (_, var) in model.params().iter() {
        var.set(&(var.as_detached_tensor() * 2.0)?)?;
    }
    Ok(model)
}

fn with_options(options: TransducerConfig) -> ModelConfig {
    ModelConfig {
        decoder: DecoderConfig::Transducer(options),
        ..transducer(3)
    }
}

fn objective(model: &Seq2Seq, batch: &Batch, noise: &Noise) -> Result<Tensor> {
    let output = model.forward(batch, &Forcing::Always, Mode::Train(noise))?;
    Ok(BatchLoss::of(&output, batch)?.1)
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    // The error of a central difference is of the order of step² and rounding / step, 1e-10 each.
    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-7;
    let batch = reversals(&sources())?;
    // Softest, soft and with a bonus, as in evaluation. The reach is longer than some of the rows.
    for (progress, reach) in [(0.0, 2), (0.3, 1), (1.0, 3)] {
        let config = with_options(TransducerConfig {
            modes: size(3),
            reach: size(reach),
            ..TransducerConfig::default()
        });
        let model = model(&config)?;
        let noise = Noise::new(0, 1).at(progress);
        let value = || objective(&model, &batch, &noise)?.to_scalar::<f64>();
        let gradients = model
            .params()
            .gradients(&objective(&model, &batch, &noise)?)?;
        for ((name, var), gradient) in model.params().iter().zip(&gradients) {
            let (at, shape) = (numbers(var)?, var.shape().clone());
            let gradient = numbers(gradient)?;
            // A few elements of the large ones, in different rows and columns.
            let stride = if at.len() < 30 { 1 } else { 17 };
            for i in (0..at.len()).step_by(stride) {
                let set = |to: f64| -> Result<f64> {
                    let mut moved = at.clone();
                    moved[i] = to;
                    var.set(&Tensor::from_vec(moved, shape.clone(), &Device::Cpu)?)?;
                    value()
                };
                let difference = (set(at[i] + STEP)? - set(at[i] - STEP)?) / (2.0 * STEP);
                set(at[i])?;
                let apart = (gradient[i] - difference).abs();
                assert!(
                    apart < TOLERANCE * difference.abs().max(1.0),
                    "{name}[{i}] at {progress}: {} against {difference}",
                    gradient[i]
                );
            }
        }
    }
    Ok(())
}

#[test]
fn padding_changes_neither_the_bonus_nor_its_gradients() -> Result<()> {
    let model = model(&transducer(4))?;
    let noise = Noise::new(0, 1).at(0.25);
    // The last row is padded in source and target, beside longer ones or alone.
    let sources = vec![vec![3, 1, 4, 1, 5, 9, 2], vec![8, 9, 7]];
    let objective_of = |sources: &[Vec<u32>]| objective(&model, &reversals(sources)?, &noise);
    let together = objective_of(&sources)?;
    let (long, short) = (objective_of(&sources[..1])?, objective_of(&sources[1..])?);
    // Means over 8 and 4 tokens, EOS included.
    let mean = ((long * (8.0 / 12.0))? + (short * (4.0 / 12.0))?)?;
    assert_close(&together, &mean, 1e-12, "objective")?;
    let gradients = model.params().gradients(&together)?;
    let expected = model.params().gradients(&mean)?;
    for ((name, _), (got, expected)) in model.params().iter().zip(gradients.iter().zip(&expected)) {
        assert_close(got, expected, 1e-12, name)?;
    }
    Ok(())
}

/// A model that makes one move at every step: the tap of a place and a distance.
fn walker(place: usize, distance: isize) -> Result<Seq2Seq> {
    let config = with_options(TransducerConfig {
        modes: size(2),
        reach: size(REACH),
        ..TransducerConfig::default()
    });
    let model = Seq2Seq::new(&config, TOKENS, 0, DType::F32, &Device::Cpu)?;
    let parameter = |name: &str| model.params().get(name).expect("a transducer has it");
    let weight = parameter("decoder.kernel.weight");
    weight.set(&weight.zeros_like()?)?;
    let distances = 2 * REACH + 1;
    let tap = place * distances + REACH.checked_add_signed(distance).expect("within reach");
    let bias = (0..2 * 3 * distances)
        .map(|index| {
            if index % (3 * distances) == tap {
                50.0
            } else {
                0.0
            }
        })
        .collect::<Vec<f32>>();
    parameter("decoder.kernel.bias").set(&Tensor::new(bias, &Device::Cpu)?)?;
    let bias = parameter("decoder.output.bias");
    let mut values = bias.to_vec1::<f32>()?;
    values[TOKENS.eos as usize] = -1e3;
    bias.set(&Tensor::new(values, &Device::Cpu)?)?;
    Ok(model)
}

/// The positions of the head when it makes one move at every step.
fn walk(place: usize, distance: isize, steps: usize) -> Result<Vec<Vec<usize>>> {
    let model = walker(place, distance)?;
    let source = Source::new(&sources(), TOKENS)?;
    let rows = greedy(&model, &source, Stop::default())?;
    let position = |weights: &Vec<f32>| {
        let at = weights.iter().position(|weight| *weight > 0.999);
        at.expect("the head is at one position")
    };
    let positions = |row: &Decoded| row.weights.iter().take(steps).map(position).collect();
    Ok(rows.iter().map(positions).collect())
}

#[test]
fn head_walks_and_jumps_between_the_ends_of_its_own_row() -> Result<()> {
    let last: Vec<usize> = sources().iter().map(|source| source.len() - 1).collect();
    let check = |place, distance: isize, expected: &dyn Fn(usize, usize) -> usize| -> Result<()> {
        let walked = walk(place, distance, 4)?;
        for (positions, &last) in walked.iter().zip(&last) {
            let expected: Vec<usize> = (1..=4).map(|step| expected(step, last)).collect();
            assert_eq!(positions, &expected, "place {place}, distance {distance}");
        }
        Ok(())
    };
    check(0, 0, &|_, _| 0)?;
    check(0, 1, &|step, last| step.min(last))?;
    check(0, 2, &|step, last| (2 * step).min(last))?;
    check(0, -1, &|_, _| 0)?;
    check(1, 1, &|_, last| 1.min(last))?;
    check(1, -2, &|_, _| 0)?;
    check(2, 0, &|_, last| last)?;
    check(2, 2, &|_, last| last)?;
    check(2, -2, &|_, last| last.saturating_sub(2))?;
    Ok(())
}

#[test]
fn outputs_are_not_fed_back() -> Result<()> {
    let model = model(&transducer(4))?;
    let batch = reversals(&sources())?;
    let logits =
        |forcing| -> Result<Tensor> { Ok(model.forward(&batch, &forcing, Mode::Evaluate)?.logits) };
    let (forced, free) = (logits(Forcing::Always)?, logits(Forcing::Never)?);
    assert_close(&free, &forced, 0.0, "free against forced")
}

#[test]
fn weights_of_a_head_that_is_everywhere_are_those_of_the_reference() -> Result<()> {
    // Sums of 150 probabilities, each rounded; 60 steps.
    const TOLERANCE: f32 = 1e-4;
    let source = Source::new(&[(0..150).map(|i| 1 + i % 9).collect()], TOKENS)?;
    let stop = Stop::AtEos(OutputLimit::fixed(size(60)));
    let mut all = Vec::new();
    for kernels in [Kernels::Fused, Kernels::Reference] {
        let config = ModelConfig {
            kernels,
            ..transducer(4)
        };
        let model = Seq2Seq::new(&config, TOKENS, 3, DType::F32, &Device::Cpu)?;
        let set = |name: &str, value: f32| -> Result<()> {
            let var = model.params().get(name).expect("a transducer has it");
            var.set(&Tensor::full(value, var.shape(), &Device::Cpu)?)
        };
        // Without sharpening, every position keeps the floor of each step.
        set("decoder.sharpness", -20.0)?;
        all.push(greedy(&model, &source, stop)?.remove(0).weights);
    }
    assert_eq!(all[0].len(), all[1].len());
    assert!(all[0].len() > 5, "{} steps", all[0].len());
    let mut least = f32::INFINITY;
    for (got, expected) in all[0].iter().flatten().zip(all[1].iter().flatten()) {
        assert!((got - expected).abs() < TOLERANCE, "{got}, not {expected}");
        least = least.min(*got);
    }
    assert!(least > 0.0, "no position is shown as empty");
    Ok(())
}

#[test]
fn equal_readouts_of_all_modes_are_a_shared_one() -> Result<()> {
    let shared = model(&transducer(4))?;
    let own = model(&with_readout_per_mode(&transducer(4)))?;
    let parameter = |model: &Seq2Seq, name: &str| model.params().get(name).cloned();
    for (name, var) in own.params().iter() {
        let value = match name.strip_prefix("decoder.readout.") {
            None => parameter(&shared, name)
                .expect("it is in both")
                .as_detached_tensor(),
            Some(part) => {
                let one = parameter(&shared, &format!("decoder.output.{part}"));
                let one = one.expect("the shared readout").as_detached_tensor();
                Tensor::cat(&[&one, &one, &one], 0)? // three modes
            }
        };
        var.set(&value)?;
    }
    let batch = reversals(&sources())?;
    let logits = |model: &Seq2Seq| -> Result<Tensor> {
        let output = model.forward(&batch, &Forcing::Always, Mode::Evaluate)?;
        Ok(output.logits)
    };
    // The modes sum to 1 up to rounding.
    assert_close(&logits(&own)?, &logits(&shared)?, 1e-12, "per mode")
}

#[test]
fn annealing_sharpens_head_and_mode_and_ends_the_bonus() -> Result<()> {
    let model = model(&transducer(4))?;
    let batch = reversals(&sources())?;
    let at = |progress: f64| -> Result<ForwardOutput> {
        let noise = Noise::new(0, 1).at(progress);
        model.forward(&batch, &Forcing::Always, Mode::Train(&noise))
    };
    let evaluated = model.forward(&batch, &Forcing::Always, Mode::Evaluate)?;
    let (soft, sharp) = (at(0.0)?, at(1.0)?);
    assert_close(&sharp.logits, &evaluated.logits, 0.0, "sharp")?;
    assert!(distance(&soft.logits, &evaluated.logits)? > 1e-3);
    assert!(sharp.penalty.is_none() && evaluated.penalty.is_none());
    let penalty = |output: &ForwardOutput| {
        let penalty = output.penalty.as_ref().expect("a bonus before the end");
        Ok::<f64, candle_core::Error>(-largest(penalty)?)
    };
    // The entropy of 15 moves is at most ln 15, and the default bonus a tenth of it.
    let bound = 0.1 * 15_f64.ln();
    let (at_start, half_way) = (penalty(&soft)?, penalty(&at(0.5)?)?);
    assert!(-bound < at_start && at_start < half_way && half_way < 0.0);
    Ok(())
}

#[test]
fn without_annealing_training_is_as_sharp_as_evaluation_and_keeps_its_bonus() -> Result<()> {
    let sharp = with_options(TransducerConfig {
        annealing: false,
        ..TransducerConfig::default()
    });
    let model = model(&sharp)?;
    let batch = reversals(&sources())?;
    let noise = Noise::new(0, 1).at(0.0);
    let trained = model.forward(&batch, &Forcing::Always, Mode::Train(&noise))?;
    let evaluated = model.forward(&batch, &Forcing::Always, Mode::Evaluate)?;
    assert_close(&trained.logits, &evaluated.logits, 0.0, "sharp")?;
    assert!(trained.penalty.is_some());
    Ok(())
}

#[test]
fn dropout_falls_on_the_states_of_the_encoder() -> Result<()> {
    let dropping = with_options(TransducerConfig {
        dropout: 0.5.try_into().expect("a probability"),
        ..TransducerConfig::default()
    });
    let model = model(&dropping)?;
    let batch = reversals(&sources())?;
    let noise = Noise::new(0, 1);
    let logits = |mode: Mode<'_>| -> Result<Tensor> {
        Ok(model.forward(&batch, &Forcing::Always, mode)?.logits)
    };
    let evaluated = logits(Mode::Evaluate)?;
    assert!(distance(&logits(Mode::Train(&noise))?, &evaluated)? > 1e-3);
    for name in ["kernel.weight", "transition.weight", "output.weight"] {
        let var = model.params().get(&format!("decoder.{name}"));
        let var = var.expect("a transducer has it");
        var.set(&var.zeros_like()?)?;
    }
    let (trained, evaluated) = (logits(Mode::Train(&noise))?, logits(Mode::Evaluate)?);
    assert_close(&trained, &evaluated, 0.0, "nothing reads the states")
}

#[test]
fn program_of_a_transducer_is_what_its_head_does() -> Result<()> {
    let limit = OutputLimit::fixed(size(4));
    for (place, distance, name) in [
        (0, 1, "+1"),
        (0, 0, "stay"),
        (1, 2, "first+2"),
        (2, -1, "last-1"),
    ] {
        let model = walker(place, distance)?;
        let automaton = Automaton::of(&model, &sources(), limit)?;
        let moves: Vec<String> = automaton
            .rules()
            .map(|(_, rule)| rule.step.to_string())
            .collect();
        assert!(
            !moves.is_empty() && moves.iter().all(|step| step == name),
            "{moves:?}"
        );
        let source = &sources()[0];
        let mut position = 0;
        for step in automaton_steps(&model, source, limit)? {
            position = step.step.apply(position, source.len());
            assert_eq!(step.position, position, "{name}");
            assert!(step.certainty > 0.0 && step.certainty <= 1.0);
            let at = step.head.iter().sum::<f32>();
            assert!((at - 1.0).abs() < 1e-4, "the head is somewhere: {at}");
        }
        assert_eq!(
            automaton.run(source, 4),
            None,
            "a model that never says EOS does not end"
        );
    }
    let recurrent = Seq2Seq::new(&ModelConfig::default(), TOKENS, 0, DType::F32, &Device::Cpu)?;
    let refused = Automaton::of(&recurrent, &sources(), limit).expect_err("no transducer");
    assert!(refused.to_string().contains("no transducer"), "{refused}");
    Ok(())
}
