//! How outputs are chosen.

use s2s_model::{Beam, Decoded, Generator, Sampling, Source, Stop};

use super::SequenceError;
use crate::Result;

/// How outputs are chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoding {
    /// The most probable token at each step.
    Greedy(Stop),
    /// The most probable outputs that a beam search finds.
    Beam(Beam),
    /// Random outputs.
    Sampling(Sampling),
}

impl From<Beam> for Decoding {
    fn from(beam: Beam) -> Self {
        Self::Beam(beam)
    }
}

impl From<Sampling> for Decoding {
    fn from(sampling: Sampling) -> Self {
        Self::Sampling(sampling)
    }
}

impl Decoding {
    /// Checks a source of so many tokens, markers included.
    pub(super) fn check(&self, source_len: usize) -> Result<(), SequenceError> {
        let constraints = match self {
            Self::Greedy(_) => return Ok(()),
            Self::Beam(beam) => &beam.constraints,
            Self::Sampling(sampling) => &sampling.constraints,
        };
        let (limit, n_prefix) = (constraints.stop.limit(source_len), constraints.prefix.len());
        match n_prefix > limit {
            true => Err(SequenceError::Prefix { n_prefix, limit }),
            false => Ok(()),
        }
    }

    /// The outputs for each source, best first. `keys` has a number for each source, which keys its random
    /// numbers.
    pub(super) fn outputs(
        &self,
        generator: &mut Generator<'_>,
        source: &Source,
        keys: &[u64],
    ) -> Result<Vec<Vec<Decoded>>> {
        Ok(match self {
            Self::Greedy(stop) => {
                let outputs = generator.greedy(source, *stop)?;
                outputs.into_iter().map(|output| vec![output]).collect()
            }
            Self::Beam(beam) => generator.beam(source, beam)?,
            Self::Sampling(sampling) => generator.sample(source, keys, sampling)?,
        })
    }
}
