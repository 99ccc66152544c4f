//! The contract of attention, which every mechanism keeps.

use candle_core::{D, DType, IndexOp, Result, Tensor, Var};
use rand::Rng;
use s2s_model::{Attended, Attention, AttentionConfig, Params, keyed_rng};

use crate::architectures::{attentions_in_every_way, device};
use crate::closeness::{assert_close, distance, largest, numbers};

const LENGTHS: [usize; 3] = [3, 4, 1];
const SOURCE_LEN: usize = 4;
const STEPS: usize = 3;
const VALUES: usize = 5;
const STATE: usize = 4;
/// In double precision nothing but the order of sums may differ.
const ROUNDING: f64 = 1e-13;

/// A mechanism with values and one query per step.
struct Setup {
    config: AttentionConfig,
    attention: Box<dyn Attention>,
    params: Params,
    values: Var,       // [B, S, H], with numbers in the padding too
    mask: Tensor,      // [B, S]
    queries: Vec<Var>, // of [B, D]
}

impl Setup {
    fn new(config: AttentionConfig) -> Result<Self> {
        let mut params = Params::new(0, DType::F64, device());
        // Dot products need states as wide as the values.
        let state = match config {
            AttentionConfig::Dot(_) => VALUES,
            _ => STATE,
        };
        let attention = config.build(&mut params.root(), VALUES, state)?;
        // Larger than the initial values, so that the weights are far from uniform.
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
            mask: Tensor::new(&mask, device())?,
            queries: queries.collect::<Result<_>>()?,
        })
    }

    /// The result of each step, which reads the weights of the step before.
    fn answers(&self) -> Result<Vec<Attended>> {
        self.answers_to(&self.values, &self.mask, |query| Ok(query.clone()))
    }

    /// The same for other values and changed queries.
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

    /// A scalar that depends on every element of every result.
    fn total(&self) -> Result<Tensor> {
        let mut total = Tensor::zeros((), DType::F64, device())?;
        for (
            step,
            Attended {
                context, weights, ..
            },
        ) in self.answers()?.iter().enumerate()
        {
            for (what, answer) in [("context", context), ("weights", weights)] {
                let share = drawn(&format!("share of {what} {step}"), answer.dims())?;
                total = (total + (answer * share.as_tensor())?.sum_all()?)?;
            }
        }
        Ok(total)
    }

    /// Everything that a result depends on.
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
    Var::from_vec(numbers, dims, device())
}

/// Every mechanism.
fn setups() -> Result<Vec<Setup>> {
    attentions_in_every_way()
        .into_iter()
        .map(Setup::new)
        .collect()
}

#[test]
fn weights_share_out_one_among_the_real_positions() -> Result<()> {
    for setup in setups()? {
        let all = if setup.config.has_weights() { 1.0 } else { 0.0 };
        for Attended { weights, .. } in setup.answers()? {
            for (weights, len) in weights.to_vec2::<f64>()?.iter().zip(LENGTHS) {
                assert!(weights.iter().all(|w| *w >= 0.0), "{:?}", setup.config);
                let sum: f64 = weights[..len].iter().sum();
                assert!((sum - all).abs() < ROUNDING, "{sum}: {:?}", setup.config);
                assert!(
                    weights[len..].iter().all(|w| *w == 0.0),
                    "{:?}",
                    setup.config
                );
            }
        }
    }
    Ok(())
}

#[test]
fn context_is_the_sum_of_the_values_by_their_weights() -> Result<()> {
    for setup in setups()? {
        for Attended {
            context, weights, ..
        } in setup.answers()?
        {
            let weighted = setup.values.broadcast_mul(&weights.unsqueeze(D::Minus1)?)?;
            let what = format!("{:?}", setup.config);
            assert_close(&context, &weighted.sum(1)?, ROUNDING, &what)?;
        }
    }
    Ok(())
}

#[test]
fn padding_does_not_change_answers() -> Result<()> {
    for setup in setups()? {
        let extra = 3;
        let junk = drawn("junk", &[LENGTHS.len(), SOURCE_LEN + extra, VALUES])?;
        let wider = |x: &Tensor| x.pad_with_zeros(1, 0, extra);
        let mask = wider(&setup.mask)?;
        let real = mask.unsqueeze(2)?;
        let values = wider(&setup.values)?.broadcast_mul(&real)?;
        let filled = (&values + junk.broadcast_mul(&real.affine(-100.0, 100.0)?)?)?;
        for values in [values, filled] {
            let answers = setup.answers_to(&values, &mask, |query| Ok(query.clone()))?;
            for (got, expected) in answers.iter().zip(setup.answers()?) {
                let what = format!("{:?}", setup.config);
                assert_close(&got.context, &expected.context, ROUNDING, &what)?;
                assert_close(&got.weights, &wider(&expected.weights)?, ROUNDING, &what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn order_and_companions_do_not_change_answers() -> Result<()> {
    let turned = Tensor::new(&[2_u32, 0, 1], device())?;
    let alone = Tensor::new(&[2_u32], device())?;
    for setup in setups()? {
        for rows in [&turned, &alone] {
            let pick = |x: &Tensor| x.index_select(rows, 0);
            let answers = setup.answers_to(&pick(&setup.values)?, &pick(&setup.mask)?, pick)?;
            for (got, expected) in answers.iter().zip(setup.answers()?) {
                let what = format!("{:?}", setup.config);
                assert_close(&got.context, &pick(&expected.context)?, ROUNDING, &what)?;
                assert_close(&got.weights, &pick(&expected.weights)?, ROUNDING, &what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn answer_depends_on_what_is_asked() -> Result<()> {
    for setup in setups()?
        .into_iter()
        .filter(|setup| setup.config.has_weights())
    {
        let answers =
            setup.answers_to(&setup.values, &setup.mask, |query| query.affine(-1.0, 0.0))?;
        for (got, expected) in answers.iter().zip(setup.answers()?) {
            // The row with a choice of positions.
            let apart = distance(&got.weights.i(1)?, &expected.weights.i(1)?)?;
            assert!(apart > 1e-3, "{apart:e}: {:?}", setup.config);
        }
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Result<()> {
    // A central difference errs by STEP² in the equations, 1e-10, and by 1e-16 / STEP in rounding.
    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-8;
    for setup in setups()? {
        let gradients = setup.total()?.backward()?;
        for (name, var) in setup.inputs() {
            let what = format!("{name}: {:?}", setup.config);
            let gradient = match gradients.get(var) {
                Some(gradient) => gradient.clone(),
                None => var.zeros_like()?,
            };
            assert_eq!(
                largest(&gradient)? > 1e-3,
                setup.config.has_weights(),
                "{what}"
            );
            let before = numbers(var)?;
            let at = |element: usize, by: f64| {
                let mut moved = before.clone();
                moved[element] += by;
                var.set(&Tensor::from_vec(moved, var.shape(), device())?)?;
                setup.total()?.to_scalar::<f64>()
            };
            let differences = (0..before.len())
                .map(|element| Ok((at(element, STEP)? - at(element, -STEP)?) / (2.0 * STEP)))
                .collect::<Result<Vec<f64>>>()?;
            let differences = Tensor::from_vec(differences, var.shape(), device())?;
            var.set(&Tensor::from_vec(before, var.shape(), device())?)?;
            assert_close(&gradient, &differences, TOLERANCE, &what)?;
        }
    }
    Ok(())
}
