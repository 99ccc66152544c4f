//! The contract of attention: what the decoder may rely on, whatever the mechanism.

use candle_core::{D, DType, Device, IndexOp, Result, Tensor, Var};
use rand::Rng;
use s2s_kernels::Kernels;
use s2s_model::{Attended, Attention, AttentionConfig, Params, keyed_rng};

use crate::architectures::{all_kernels, attentions_in_every_way};
use crate::closeness::{assert_close, distance, largest, numbers};

const LENGTHS: [usize; 3] = [3, 4, 1];
const SOURCE_LEN: usize = 4;
const STEPS: usize = 3;
const VALUES: usize = 5;
const STATE: usize = 4;
/// In double precision nothing but the order of sums may differ.
const ROUNDING: f64 = 1e-13;

/// A mechanism with something to look at and the states that ask, one a step.
struct Scene {
    config: AttentionConfig,
    attention: Box<dyn Attention>,
    params: Params,
    values: Var,       // [B, S, H], with numbers in the padding too
    mask: Tensor,      // [B, S]
    queries: Vec<Var>, // of [B, D]
}

impl Scene {
    fn new(config: AttentionConfig, kernels: Kernels) -> Result<Self> {
        let mut params = Params::new(0, DType::F64, &Device::Cpu);
        let state = config.state_width(VALUES).unwrap_or(STATE);
        let attention = config.build(&mut params.root(), VALUES, state, kernels)?;
        // Larger than they start, so that the choice is far from even.
        for (_, var) in params.iter() {
            var.set(&(var.as_detached_tensor() * 4.0)?)?;
        }
        let mask = LENGTHS.map(|len| [0, 1, 2, 3].map(|s| f64::from(u8::from(s < len))));
        let queries =
            (0..STEPS).map(|step| drawn(&format!("query {step}"), &[LENGTHS.len(), state]));
        Ok(Self {
            config,
            attention,
            params,
            values: drawn("values", &[LENGTHS.len(), SOURCE_LEN, VALUES])?,
            mask: Tensor::new(&mask, &Device::Cpu)?,
            queries: queries.collect::<Result<_>>()?,
        })
    }

    /// What it answers at each step, each told of the one before.
    fn answers(&self) -> Result<Vec<Attended>> {
        self.answers_to(&self.values, &self.mask, |query| Ok(query.clone()))
    }

    /// The same of other values, from changed queries.
    fn answers_to(
        &self,
        values: &Tensor,
        mask: &Tensor,
        change: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Attended>> {
        let memory = self.attention.prepare(values, mask)?;
        let mut previous = memory.first_weights(self.attention.start())?;
        let mut answers: Vec<Attended> = Vec::with_capacity(STEPS);
        for query in &self.queries {
            let answer = self.attention.attend(&change(query)?, &memory, &previous)?;
            previous = answer.weights.clone();
            answers.push(answer);
        }
        Ok(answers)
    }

    /// A number that all answers have a part in, each element its own.
    fn total(&self) -> Result<Tensor> {
        let mut total = Tensor::zeros((), DType::F64, &Device::Cpu)?;
        for (step, Attended { context, weights }) in self.answers()?.iter().enumerate() {
            for (what, answer) in [("context", context), ("weights", weights)] {
                let share = drawn(&format!("share of {what} {step}"), answer.dims())?;
                total = (total + (answer * share.as_tensor())?.sum_all()?)?;
            }
        }
        Ok(total)
    }

    /// All that an answer depends on.
    fn inputs(&self) -> Vec<(String, &Var)> {
        let mut inputs = vec![("values".to_owned(), &self.values)];
        let queries = self.queries.iter().enumerate();
        inputs.extend(queries.map(|(step, query)| (format!("query {step}"), query)));
        inputs.extend(self.params.iter().map(|(name, var)| (name.to_owned(), var)));
        inputs
    }
}

/// Uniform in `[-1, 1)`.
fn drawn(what: &str, dims: &[usize]) -> Result<Var> {
    let mut rng = keyed_rng(0, what, 0);
    let n = dims.iter().product();
    let numbers: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    Var::from_vec(numbers, dims, &Device::Cpu)
}

/// Every mechanism, with every implementation of the operators.
fn scenes() -> Result<Vec<Scene>> {
    attentions_in_every_way()
        .into_iter()
        .flat_map(|config| {
            all_kernels()
                .into_iter()
                .map(move |kernels| Scene::new(config.clone(), kernels))
        })
        .collect()
}

#[test]
fn weights_share_out_one_among_the_real_positions() -> Result<()> {
    for scene in scenes()? {
        let all = if scene.config.has_weights() { 1.0 } else { 0.0 };
        for Attended { weights, .. } in scene.answers()? {
            for (weights, len) in weights.to_vec2::<f64>()?.iter().zip(LENGTHS) {
                assert!(weights.iter().all(|w| *w >= 0.0), "{:?}", scene.config);
                let sum: f64 = weights[..len].iter().sum();
                assert!((sum - all).abs() < ROUNDING, "{sum}: {:?}", scene.config);
                assert!(
                    weights[len..].iter().all(|w| *w == 0.0),
                    "{:?}",
                    scene.config
                );
            }
        }
    }
    Ok(())
}

#[test]
fn context_is_the_sum_of_the_values_by_their_weights() -> Result<()> {
    for scene in scenes()? {
        for Attended { context, weights } in scene.answers()? {
            let weighted = scene.values.broadcast_mul(&weights.unsqueeze(D::Minus1)?)?;
            let what = format!("{:?}", scene.config);
            assert_close(&context, &weighted.sum(1)?, ROUNDING, &what)?;
        }
    }
    Ok(())
}

#[test]
fn padding_does_not_change_answers() -> Result<()> {
    for scene in scenes()? {
        let extra = 3;
        let junk = drawn("junk", &[LENGTHS.len(), SOURCE_LEN + extra, VALUES])?;
        let wider = |x: &Tensor| x.pad_with_zeros(1, 0, extra);
        let mask = wider(&scene.mask)?;
        let real = mask.unsqueeze(2)?;
        let values = wider(&scene.values)?.broadcast_mul(&real)?;
        let filled = (&values + junk.broadcast_mul(&real.affine(-100.0, 100.0)?)?)?;
        for values in [values, filled] {
            let answers = scene.answers_to(&values, &mask, |query| Ok(query.clone()))?;
            for (got, expected) in answers.iter().zip(scene.answers()?) {
                let what = format!("{:?}", scene.config);
                assert_close(&got.context, &expected.context, ROUNDING, &what)?;
                assert_close(&got.weights, &wider(&expected.weights)?, ROUNDING, &what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn order_and_companions_do_not_change_answers() -> Result<()> {
    let turned = Tensor::new(&[2_u32, 0, 1], &Device::Cpu)?;
    let alone = Tensor::new(&[2_u32], &Device::Cpu)?;
    for scene in scenes()? {
        for rows in [&turned, &alone] {
            let pick = |x: &Tensor| x.index_select(rows, 0);
            let answers = scene.answers_to(&pick(&scene.values)?, &pick(&scene.mask)?, pick)?;
            for (got, expected) in answers.iter().zip(scene.answers()?) {
                let what = format!("{:?}", scene.config);
                assert_close(&got.context, &pick(&expected.context)?, ROUNDING, &what)?;
                assert_close(&got.weights, &pick(&expected.weights)?, ROUNDING, &what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn answer_depends_on_what_is_asked() -> Result<()> {
    for scene in scenes()?
        .into_iter()
        .filter(|scene| scene.config.has_weights())
    {
        let answers =
            scene.answers_to(&scene.values, &scene.mask, |query| query.affine(-1.0, 0.0))?;
        for (got, expected) in answers.iter().zip(scene.answers()?) {
            // The row with a choice of positions.
            let apart = distance(&got.weights.i(1)?, &expected.weights.i(1)?)?;
            assert!(apart > 1e-3, "{apart:e}: {:?}", scene.config);
        }
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    // A central difference errs by STEP² in the equations, 1e-10, and by 1e-16 / STEP in rounding.
    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-8;
    for scene in scenes()? {
        let gradients = scene.total()?.backward()?;
        for (name, var) in scene.inputs() {
            let what = format!("{name}: {:?}", scene.config);
            let gradient = match gradients.get(var) {
                Some(gradient) => gradient.clone(),
                None => var.zeros_like()?,
            };
            assert_eq!(
                largest(&gradient)? > 1e-3,
                scene.config.has_weights(),
                "{what}"
            );
            let before = numbers(var)?;
            let at = |element: usize, by: f64| {
                let mut moved = before.clone();
                moved[element] += by;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu)?)?;
                scene.total()?.to_scalar::<f64>()
            };
            let differences = (0..before.len())
                .map(|element| Ok((at(element, STEP)? - at(element, -STEP)?) / (2.0 * STEP)))
                .collect::<Result<Vec<f64>>>()?;
            let differences = Tensor::from_vec(differences, var.shape(), &Device::Cpu)?;
            var.set(&Tensor::from_vec(before, var.shape(), &Device::Cpu)?)?;
            assert_close(&gradient, &differences, TOLERANCE, &what)?;
        }
    }
    Ok(())
}
