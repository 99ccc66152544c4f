//! The validation sequences whose attention is recorded at every evaluation.

use reverse_data::{BatchSource, Sequence, Split};
use s2s_runlog::AttentionRecord;

use crate::{Codec, Model, Result, attention_of};

/// Number of probe sequences, as far as the data have so many different ones.
const N_PROBES: usize = 4;

/// Maximum length of the probe sequences where the data allow it; longer attention pictures are hard
/// to read.
const PROBE_LEN: usize = 24;

/// Minimum length of the probe sequences after the first one, where the data allow it.
const MIN_PROBE_LEN: usize = 3;

/// Validation samples among which the probe sequences are chosen.
const N_SEARCHED: u64 = 200;

/// Sources and targets of the probe sequences: a longest one of at most 24 tokens where possible, and the
/// first others.
pub(crate) fn probes(data: &dyn BatchSource) -> Vec<[Sequence; 2]> {
    if data.n_samples(Split::Val) == Some(0) {
        return Vec::new(); // an imported model without its text
    }
    let mut probes = vec![data.probe(PROBE_LEN)];
    let n = data
        .n_samples(Split::Val)
        .map_or(N_SEARCHED, |n| n.min(N_SEARCHED));
    for index in 0..n {
        let [source, target] = data.sequences(Split::Val, index);
        let is_readable = (MIN_PROBE_LEN..=PROBE_LEN).contains(&source.tokens.len());
        if is_readable
            && probes
                .iter()
                .all(|[probe, _]| probe.tokens != source.tokens)
        {
            probes.push([source, target]);
        }
        if probes.len() == N_PROBES {
            break;
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
