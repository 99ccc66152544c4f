//! The validation sequences whose attention is recorded at every evaluation.

use std::ops::RangeInclusive;

use reverse_data::{BatchSource, Sequence, Split, scattered};
use s2s_runlog::AttentionRecord;

use crate::{Codec, Model, Result, attention_of};

/// Number of probe sequences, as far as the data have so many different ones.
const N_PROBES: usize = 4;

/// Lengths of sources that make the best pictures: long enough to show a pattern, short enough to read.
pub(crate) const SHOWN_LEN: RangeInclusive<usize> = 5..=20;

/// Lengths of the probe sequences where the data have no others.
const READABLE_LEN: RangeInclusive<usize> = 3..=24;

/// Validation samples among which the probe sequences are chosen.
const N_SEARCHED: usize = 200;

/// Sources and targets of the probe sequences, all different: a longest one of at most 20 tokens where possible,
/// and others of 5 to 20 tokens from anywhere in the split.
pub(crate) fn probes(data: &dyn BatchSource) -> Vec<[Sequence; 2]> {
    if data.n_samples(Split::Val) == Some(0) {
        return Vec::new(); // an imported model without its text
    }
    let mut probes = vec![data.probe(*SHOWN_LEN.end())];
    let n = data.n_samples(Split::Val).unwrap_or(N_SEARCHED as u64);
    let searched: Vec<u64> = scattered(n).take(N_SEARCHED).collect();
    for lens in [SHOWN_LEN, READABLE_LEN] {
        for &index in &searched {
            if probes.len() == N_PROBES {
                return probes;
            }
            let [source, target] = data.sequences(Split::Val, index);
            let is_new = |[probe, _]: &[Sequence; 2]| probe.texts != source.texts;
            if lens.contains(&source.tokens.len()) && probes.iter().all(is_new) {
                probes.push([source, target]);
            }
        }
    }
    probes
}

/// The outputs and attention of the probe sequences after `step` training steps.
///
/// # Errors
/// If the device fails.
pub(crate) fn attention_of_probes(
    model: &impl Model,
    probes: &[[Sequence; 2]],
    codec: &Codec,
    step: u64,
) -> Result<Vec<AttentionRecord>> {
    let records = probes.iter();
    records
        .map(|probe| attention_of(model, probe, codec, step))
        .collect()
}
