//! The fast path against the definition: loss, gradients and decoding of one model on both.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use s2s_model::{
    AttentionConfig, Batch, CellKind, CoinScope, Decoded, Forcing, Generator, Kernels, ModelConfig,
    Noise, Probability, Seq2Seq, Source, Stop, Tokens,
};

use crate::architectures::{
    FIXED_LENGTH, attentions_in_every_way, cells, device, greedy, has_fast_path, on_device, size,
    with_options,
};

const TOKENS: Tokens = Tokens {
    size: 13,
    bos: 11,
    eos: 12,
};

fn model(text: &str, kernels: Kernels) -> Result<Seq2Seq> {
    model_on(&Device::Cpu, text, kernels)
}

fn model_on(device: &Device, text: &str, kernels: Kernels) -> Result<Seq2Seq> {
    let mut config: ModelConfig = toml::from_str(text).map_err(candle_core::Error::wrap)?;
    config.kernels = kernels;
    let model = Seq2Seq::new(&config, TOKENS, 5, DType::F32, device)?;
    let is_fast = kernels == Kernels::Fused && has_fast_path(device, &config);
    assert_eq!(model.is_fused(), is_fast, "{text}");
    Ok(model)
}

/// The model on the fast path of the tests' device, if it has one, and the definition on the CPU.
fn both_paths(text: &str) -> Result<Option<(Seq2Seq, Seq2Seq)>> {
    let fused = model_on(device(), text, Kernels::Fused)?;
    let reference = model(text, Kernels::Reference)?;
    Ok(fused.is_fused().then_some((fused, reference)))
}

/// The same small model with every cell and every attention, in every way.
fn with_every_attention() -> Vec<String> {
    with_every_attention_of(5)
}

/// The same, of this width. From 64 on a decoder projects what rows of a few positions are.
fn with_every_attention_of(hidden: usize) -> Vec<String> {
    let decoder = 2 * hidden;
    let sizes =
        format!("embedding = 7\nhidden = {hidden}\ndecoder = {decoder}\nlayers = 2\ndropout = 0.3");
    let attentions = attentions_in_every_way();
    let of = |cell| {
        let sizes = format!("cell = \"{cell}\"\n{sizes}");
        let texts = attentions.iter().map(move |a| with_attention(&sizes, a));
        texts.collect::<Vec<_>>()
    };
    cells().into_iter().flat_map(of).collect()
}

/// A small model with a transducer, with every cell; the reach is longer than some rows.
fn with_transducer() -> Vec<String> {
    let of = |cell| {
        format!(
            "cell = \"{cell}\"\nembedding = 7\nhidden = 5\nlayers = 2\ndropout = 0.3\n\
             embedding_dropout = 0.2\n\
             decoder = {{ kind = \"transducer\", modes = 4, reach = 3, dropout = 0.4 }}"
        )
    };
    cells().into_iter().map(of).collect()
}

fn with_attention(sizes: &str, attention: &AttentionConfig) -> String {
    let attention = toml::to_string(attention).expect("a configuration is a table");
    format!("{sizes}\n[attention]\n{attention}")
}

fn ragged_batch() -> Result<Batch> {
    batch_of(&[vec![3, 1, 4, 1, 5], vec![9], vec![2, 6, 5], vec![10, 10]])
}

fn batch_of(sources: &[Vec<u32>]) -> Result<Batch> {
    let targets: Vec<Vec<u32>> = sources
        .iter()
        .map(|s| s.iter().rev().copied().collect())
        .collect();
    Batch::new(sources, &targets, TOKENS)
}

/// Largest difference, relative to the largest number of the tensor that is approximated.
fn distance(tensor: &Tensor, expected: &Tensor) -> Result<f64> {
    let largest = |t: &Tensor| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
    let scale = largest(expected)?.max(1e-4); // a gradient this small is rounding
    Ok(f64::from(largest(&(tensor - expected)?)? / scale))
}

fn check(text: &str, forcing: &Forcing) -> Result<()> {
    // Sums of some thousand products in another order, and tanh to 3e-7.
    check_on(&ragged_batch()?, text, forcing, 2e-5)
}

fn check_on(batch: &Batch, text: &str, forcing: &Forcing, tolerance: f64) -> Result<()> {
    let Some((mut fused, mut reference)) = both_paths(text)? else {
        return Ok(());
    };
    let tolerance = on_device(tolerance);
    let noise = Noise::new(3, 4).at(0.3); // only a transducer is annealed
    let (fused_loss, fused_gradients) = fused.gradients(batch, forcing, &noise)?;
    let (loss, gradients) = reference.gradients(batch, forcing, &noise)?;

    let difference = (fused_loss.loss_sum - loss.loss_sum).abs() / loss.loss_sum;
    assert!(
        difference < on_device(1e-6),
        "{text}: the loss differs by {difference:e}"
    );
    assert_real_predictions_equal(&fused_loss.predictions, &loss.predictions, batch, text);
    for (((name, _), fused), expected) in reference
        .params()
        .iter()
        .zip(&fused_gradients)
        .zip(&gradients)
    {
        let distance = distance(&fused.to_device(&Device::Cpu)?, expected)?;
        assert!(
            distance < tolerance, // not if it is NaN
            "{text}: the gradient of {name} is off by {distance:e}"
        );
    }

    let (free, expected) = (
        fused.loss(batch, &Forcing::Never)?,
        reference.loss(batch, &Forcing::Never)?,
    );
    assert!(
        (free.loss_sum - expected.loss_sum).abs() < on_device(1e-5) * expected.loss_sum,
        "{text}"
    );
    Ok(())
}

#[test]
fn label_smoothing_is_the_same_on_both_paths() -> Result<()> {
    let smoothing = Probability::try_from(0.3).map_err(candle_core::Error::wrap)?;
    let plain = ragged_batch()?;
    let smoothed = plain.clone().with_label_smoothing(smoothing);
    let text = "embedding = 7\nhidden = 5\ndecoder = 8";
    check_on(&smoothed, text, &Forcing::Always, 2e-5)?;
    let mut fused = model(text, Kernels::Fused)?;
    let noise = Noise::new(3, 4);
    let mut gradients = |batch: &Batch| -> Result<(f64, Vec<f32>)> {
        let (loss, gradients) = fused.gradients(batch, &Forcing::Always, &noise)?;
        let last = gradients.last().map(Tensor::to_vec1).transpose()?;
        Ok((loss.loss_sum, last.unwrap_or_default()))
    };
    let ((loss, d_bias), (other_loss, other_d_bias)) = (gradients(&plain)?, gradients(&smoothed)?);
    assert_eq!(loss, other_loss, "the reported loss is without smoothing");
    assert_ne!(d_bias, other_d_bias);
    Ok(())
}

fn assert_real_predictions_equal(fused: &[u32], expected: &[u32], batch: &Batch, text: &str) {
    let width = batch.target_len();
    for (row, &len) in batch.target_lengths().iter().enumerate() {
        let row = row * width..row * width + len;
        assert_eq!(fused[row.clone()], expected[row], "{text}");
    }
}

#[test]
fn options_have_the_gradients_of_the_reference() -> Result<()> {
    let coins = Noise::new(1, 1).coins(0.5, CoinScope::Sequence, 4, 6);
    for cell in cells() {
        for decoder in ["10", "{ kind = \"transducer\", modes = 4, reach = 1 }"] {
            for (layers, dropout) in [(1, 0.0), (2, 0.0), (2, 0.4), (3, 0.3)] {
                let text = format!(
                    "cell = \"{cell}\"\nembedding = 7\nhidden = 5\nlayers = {layers}\n\
                     dropout = {dropout}\ndecoder = {decoder}"
                );
                let config = toml::from_str(&text).map_err(candle_core::Error::wrap)?;
                for config in with_options(&config) {
                    let text = toml::to_string(&config).map_err(candle_core::Error::wrap)?;
                    check(&text, &Forcing::Always)?;
                    check(&text, &coins)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn fused_gradients_are_those_of_the_reference() -> Result<()> {
    cells().into_iter().try_for_each(check_cell)
}

fn check_cell(cell: CellKind) -> Result<()> {
    let sizes = format!(
        "cell = \"{cell}\"\nembedding = 7\nhidden = 5\ndecoder = 10\n\
         attention = {{ kind = \"additive\", units = 9 }}"
    );
    let noise = Noise::new(1, 1);
    let coins = noise.coins(0.5, CoinScope::Sequence, 4, 6);
    for forcing in [Forcing::Always, Forcing::Never, coins] {
        for layers in 1..=3 {
            for (dropout, embedding_dropout) in [(0.0, 0.0), (0.0, 0.4), (0.4, 0.0), (0.3, 0.2)] {
                if layers == 1 && dropout > 0.0 {
                    continue; // refused: there is nothing between
                }
                for bridge in ["tanh", "concat", "zero"] {
                    let text = format!(
                        "{sizes}\nlayers = {layers}\ndropout = {dropout}\n\
                         embedding_dropout = {embedding_dropout}\nbridge = \"{bridge}\""
                    );
                    check(&text, &forcing)?;
                }
            }
        }
    }
    check(
        &format!("{}\nbridge = \"last\"", sizes.replace("10", "5")),
        &Forcing::Always,
    )
}

#[test]
fn fused_gradients_of_every_attention_are_those_of_the_reference() -> Result<()> {
    let coins = Noise::new(1, 1).coins(0.5, CoinScope::Sequence, 4, 6);
    for text in with_every_attention() {
        for forcing in [&Forcing::Always, &coins] {
            check(&text, forcing)?;
        }
    }
    Ok(())
}

#[test]
fn fused_gradients_of_a_transducer_are_those_of_the_reference() -> Result<()> {
    let long: Vec<Vec<u32>> = [9, 30, 17]
        .map(|n| (0..n).map(|at| 1 + at * 7 % 10).collect())
        .to_vec();
    for text in with_transducer() {
        let without_dropout = text.replace("0.3", "0.0").replace("0.4", "0.0");
        let sharp = text.replace("modes", "annealing = false, modes");
        for text in [&text, &without_dropout, &sharp] {
            check(text, &Forcing::Always)?;
            // Sums over more steps, which depend on one another.
            check_on(&batch_of(&long)?, text, &Forcing::Never, 1e-4)?;
        }
    }
    Ok(())
}

/// The workspace of one batch serves the next, whatever its shape.
#[test]
fn one_batch_leaves_no_trace_in_the_gradients_of_the_next() -> Result<()> {
    let batches = [
        ragged_batch()?,
        batch_of(&[vec![7], vec![4, 4, 4], vec![8, 1, 2, 3, 9], vec![5, 6]])?,
        batch_of(&[vec![7, 2, 2]])?, // another shape
    ];
    let with_attention = ["additive", "location-relative"].map(|attention| {
        format!(
            "embedding = 7\nhidden = 5\ndecoder = 10\nlayers = 2\ndropout = 0.3\nembedding_dropout = 0.2\n\
             attention = {{ kind = \"{attention}\", units = 6 }}"
        )
    });
    for text in with_attention.into_iter().chain(with_transducer()) {
        let Some((mut fused, mut reference)) = both_paths(&text)? else {
            continue;
        };
        for step in 0..12 {
            let (batch, noise) = (&batches[step % 3], Noise::new(3, step as u64));
            let (rows, steps) = (batch.n_rows(), batch.target_len());
            let forcing = match step < 6 {
                true => noise.coins(0.5, CoinScope::Sequence, rows, steps),
                false => Forcing::Always,
            };
            let (_, gradients) = fused.gradients(batch, &forcing, &noise)?;
            let (_, expected) = reference.gradients(batch, &forcing, &noise)?;
            for (gradient, expected) in gradients.iter().zip(&expected) {
                let distance = distance(&gradient.to_device(&Device::Cpu)?, expected)?;
                assert!(distance < on_device(2e-5), "step {step}: {distance:e}");
            }
            let (free, expected) = (
                fused.loss(batch, &Forcing::Never)?,
                reference.loss(batch, &Forcing::Never)?,
            );
            let difference = (free.loss_sum - expected.loss_sum).abs();
            assert!(
                difference < on_device(1e-5) * expected.loss_sum,
                "step {step}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn fused_is_the_reference_at_any_size(
        kind in 0..attentions_in_every_way().len(),
        (units, filters, width) in (1..40_usize, 1..4_usize, 1..12_usize),
        (hidden, embedding) in (1..20_usize, 1..20_usize),
        lengths in prop::collection::vec(1..9_u32, 1..8),
    ) {
        let attention = resized(&attentions_in_every_way()[kind], units, filters, width);
        let decoder = 2 * hidden;
        let sizes = format!("embedding = {embedding}\nhidden = {hidden}\ndecoder = {decoder}");
        let sources: Vec<Vec<u32>> =
            lengths.iter().map(|&n| (0..n).map(|at| 1 + (7 * at + n) % 10).collect()).collect();
        let text = with_attention(&sizes, &attention);
        // The gradient of a single number may be little beside the terms that it sums.
        const TOLERANCE: f64 = 2e-4;
        let batch = batch_of(&sources).unwrap();
        check_on(&batch, &text, &Forcing::Always, TOLERANCE).unwrap();
    }
}

/// The same attention in other sizes, where it has them.
fn resized(
    attention: &AttentionConfig,
    units: usize,
    filters: usize,
    width: usize,
) -> AttentionConfig {
    let mut attention = attention.clone();
    match &mut attention {
        AttentionConfig::Additive(config) => config.units = size(units),
        AttentionConfig::Location(config) => {
            config.units = size(units);
            config.filters = size(filters);
            config.width = size(width);
        }
        AttentionConfig::DynamicConvolution(config) => {
            config.units = size(units);
            config.filters = size(filters);
            config.width = size(width);
        }
        AttentionConfig::Ntm(config) => config.units = size(units),
        AttentionConfig::LocationRelative(config) => config.units = size(units),
        AttentionConfig::Dot(_) | AttentionConfig::General {} | AttentionConfig::None {} => {}
    }
    attention
}

#[test]
fn fused_gradients_have_the_same_bits_for_any_number_of_threads() -> Result<()> {
    for text in with_every_attention().into_iter().chain(with_transducer()) {
        same_bits_for_any_number_of_threads(&text)?;
    }
    Ok(())
}

fn same_bits_for_any_number_of_threads(text: &str) -> Result<()> {
    let gradients = |threads| -> Result<Vec<Vec<f32>>> {
        let mut model = model(text, Kernels::Fused)?;
        model.set_threads(threads);
        let gradients = model
            .gradients(&ragged_batch()?, &Forcing::Never, &Noise::new(0, 1))?
            .1;
        gradients
            .iter()
            .map(|g| g.flatten_all()?.to_vec1())
            .collect()
    };
    let one = gradients(1)?;
    for threads in [2, 3, 8] {
        assert_eq!(one, gradients(threads)?, "{threads} threads: {text}");
    }
    Ok(())
}

#[test]
fn companions_change_no_bit_of_what_is_decoded() -> Result<()> {
    let with_attention = [5, 64].into_iter().flat_map(with_every_attention_of);
    for text in with_attention.chain(with_transducer()) {
        companions_change_no_bit(&model(&text, Kernels::Fused)?)?;
    }
    Ok(())
}

fn companions_change_no_bit(model: &Seq2Seq) -> Result<()> {
    let rows: Vec<Vec<u32>> = (1..=9_usize)
        .map(|n| (0..n as u32).map(|t| 1 + (t * 7) % 10).collect())
        .collect();
    let mut generator = Generator::new(model)?.with_attention(); // one batch leaves no trace in the next
    let mut decoded = |rows: &[Vec<u32>], stop| -> Result<Vec<Decoded>> {
        let source = Source::new(rows, TOKENS)?;
        generator.greedy(&source, stop)
    };
    for stop in [Stop::default(), FIXED_LENGTH] {
        let together = decoded(&rows, stop)?;
        for (row, together) in rows.iter().zip(&together) {
            // Tokens, log-probabilities and weights, every bit of them.
            assert_eq!(decoded(std::slice::from_ref(row), stop)?[0], *together);
        }
        let mut reversed = rows.clone();
        reversed.reverse();
        let mut other_order = decoded(&reversed, stop)?;
        other_order.reverse();
        assert_eq!(other_order, together);
    }
    Ok(())
}

#[test]
fn clones_decode_at_the_same_time_what_one_decodes_alone() -> Result<()> {
    let text = "embedding = 7\nhidden = 5\ndecoder = 9\nlayers = 2";
    let model = model(text, Kernels::Fused)?;
    let rows = [vec![3, 1, 4, 1, 5], vec![9], vec![2, 6, 5]];
    let packed = Generator::new(&model)?.with_attention();
    let decode = |mut generator: Generator<'_>| -> Result<Vec<Decoded>> {
        let source = Source::new(&rows, TOKENS)?;
        generator.greedy(&source, Stop::default())
    };
    let alone = decode(packed.clone())?;
    std::thread::scope(|scope| {
        let clones = [(); 3].map(|()| scope.spawn(|| decode(packed.clone())));
        for clone in clones {
            assert_eq!(clone.join().expect("no panic")?, alone);
        }
        Ok(())
    })
}

#[test]
fn fused_decoding_says_what_the_reference_says() -> Result<()> {
    let with_attention = [5, 64].into_iter().flat_map(with_every_attention_of);
    for text in with_attention.chain(with_transducer()) {
        decoding_says_what_the_reference_says(&text)?;
    }
    Ok(())
}

fn decoding_says_what_the_reference_says(text: &str) -> Result<()> {
    let rows = [vec![3, 1, 4, 1, 5], vec![9], vec![2, 6, 5]];
    let Some((fused, reference)) = both_paths(text)? else {
        return Ok(());
    };
    let source = Source::new(&rows, TOKENS)?;
    for stop in [Stop::default(), FIXED_LENGTH] {
        let said = |model| greedy(model, &source, stop);
        for (fused, reference) in said(&fused)?.iter().zip(said(&reference)?) {
            assert_eq!(
                (&fused.tokens, fused.stopped),
                (&reference.tokens, reference.stopped)
            );
            let fused = fused.log_probs.iter().chain(fused.weights.iter().flatten());
            let reference = reference
                .log_probs
                .iter()
                .chain(reference.weights.iter().flatten());
            for (fused, reference) in fused.zip(reference) {
                // Sums in another order, and tanh to 5e-7.
                assert!(
                    f64::from((fused - reference).abs()) < on_device(1e-5),
                    "{fused} against {reference}"
                );
            }
        }
    }
    Ok(())
}
