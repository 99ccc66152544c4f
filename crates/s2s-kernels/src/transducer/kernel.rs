//! A transducer over all steps of a batch, forward and backward.

use std::slice::from_ref;

use super::choose::{
    entropy_backward, move_probabilities, move_probabilities_backward, next_mode,
    next_mode_backward, normalize,
};
use super::head::{head_exponent, scores, scores_backward, shift, shift_backward};
use super::{EntropyBonus, TransducerInputs, TransducerParams, TransducerSizes};
use crate::attention::kernel::{add_scaled, softmax, softmax_backward};
use crate::lanes::dot;
use crate::linear::{Linear, add_to, bias_gradient, weight_gradient, weight_gradients};
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::{Team, sized};

/// A transducer with its packed parameters, and what its forward pass saves for the backward pass.
///
/// A clone shares the packed weights.
#[derive(Clone, Debug, Default)]
pub struct Transducer<T: Real> {
    pub(super) weights: Weights<T>,
    maps: Linear<T>, // [K·K + K·N + V, C]
    stacked: Vec<T>,
    trace: Trace<T>,
    dims: Dims,
    logits: Vec<T>, // [T, B, V]
}

/// The parameters that a step uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights<T> {
    pub(super) sizes: TransducerSizes,
    pub(super) bias: Vec<T>,        // [K·K + K·N + V]
    pub(super) sharpness: Vec<T>,   // [K]
    pub(super) mode_output: Vec<T>, // [K, V]
}

/// The sizes of a batch.
#[derive(Clone, Copy, Debug, Default)]
struct Dims {
    batch: usize,
    len: usize,
    steps: usize,
}

/// What a forward pass saves, batch first. The backward pass overwrites it.
#[derive(Clone, Debug, Default)]
struct Trace<T> {
    projected: Vec<T>,   // [B, S, K·K + K·N + V]
    d_projected: Vec<T>, // the same
    heads: Vec<T>,       // [B, T + 1, S], before each step and after the last one
    moved: Vec<T>,       // [B, T, S]
    modes: Vec<T>,       // [B, T + 1, K]
    mixed: Vec<T>,       // [B, T, K]
    kernels: Vec<T>,     // [B, T, N]
    reads: Vec<T>,       // [B, T + 1, K·K + K·N + V], before each step and after the last one
    d_sharpness: Vec<T>, // [B, K]
}

/// Some rows of a [`Trace`].
struct Rows<'a, T> {
    heads: &'a mut [T],
    moved: &'a mut [T],
    modes: &'a mut [T],
    mixed: &'a mut [T],
    kernels: &'a mut [T],
    reads: &'a mut [T],
    d_projected: &'a mut [T],
    d_sharpness: &'a mut [T],
}

impl<T: Real> Trace<T> {
    fn rows(&mut self, sizes: TransducerSizes, dims: Dims) -> (&[T], Rows<'_, T>) {
        let Dims { batch, len, steps } = dims;
        let (modes, moves, read) = (sizes.modes, sizes.moves(), sizes.read());
        let rows = Rows {
            heads: sized(&mut self.heads, batch * (steps + 1) * len),
            moved: sized(&mut self.moved, batch * steps * len),
            modes: sized(&mut self.modes, batch * (steps + 1) * modes),
            mixed: sized(&mut self.mixed, batch * steps * modes),
            kernels: sized(&mut self.kernels, batch * steps * moves),
            reads: sized(&mut self.reads, batch * (steps + 1) * read),
            d_projected: sized(&mut self.d_projected, batch * len * read),
            d_sharpness: sized(&mut self.d_sharpness, batch * modes),
        };
        (&self.projected[..batch * len * read], rows)
    }
}

impl<'a, T> Rows<'a, T> {
    /// Takes the first `n` of the rows that are left.
    fn take(&mut self, n: usize, sizes: TransducerSizes, dims: Dims) -> Self {
        fn first<'a, T>(rows: &mut &'a mut [T], n: usize) -> &'a mut [T] {
            rows.split_off_mut(..n)
                .expect("no more rows than there are")
        }
        let Dims { len, steps, .. } = dims;
        let (modes, moves, read) = (sizes.modes, sizes.moves(), sizes.read());
        Self {
            heads: first(&mut self.heads, n * (steps + 1) * len),
            moved: first(&mut self.moved, n * steps * len),
            modes: first(&mut self.modes, n * (steps + 1) * modes),
            mixed: first(&mut self.mixed, n * steps * modes),
            kernels: first(&mut self.kernels, n * steps * moves),
            reads: first(&mut self.reads, n * (steps + 1) * read),
            d_projected: first(&mut self.d_projected, n * len * read),
            d_sharpness: first(&mut self.d_sharpness, n * modes),
        }
    }
}

/// The source of a row.
#[derive(Clone, Copy)]
struct RowSource<'a, T> {
    projected: &'a [T], // [S, K·K + K·N + V]
    /// Real positions.
    length: usize,
    progress: T,
    dims: Dims,
}

impl<T: Real> Transducer<T> {
    /// A transducer without parameters; call [`pack`](Self::pack) before use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs the parameters.
    pub fn pack(&mut self, sizes: TransducerSizes, params: TransducerParams<&[T]>) {
        let modes = sizes.modes;
        self.stacked.clear();
        for weight in [
            params.transition_weight,
            params.kernel_weight,
            params.output_weight,
        ] {
            self.stacked.extend_from_slice(weight);
        }
        let stacked = Matrix::dense(&self.stacked, sizes.read(), sizes.values);
        self.maps.pack(stacked);
        let weights = &mut self.weights;
        weights.sizes = sizes;
        weights.bias.clear();
        for bias in [
            params.transition_bias,
            params.kernel_bias,
            params.output_bias,
        ] {
            weights.bias.extend_from_slice(bias);
        }
        assert_eq!(weights.bias.len(), sizes.read(), "the biases of {sizes:?}");
        for mode in 0..modes {
            weights.bias[mode * (modes + 1)] += T::from_f64(STAY);
        }
        weights.sharpness.clear();
        weights.sharpness.extend_from_slice(params.sharpness);
        weights.mode_output.clear();
        for mode in 0..modes {
            let column = params.mode_output.chunks_exact(modes).map(|row| row[mode]);
            weights.mode_output.extend(column);
        }
    }

    /// Projects values `[rows, C]` to what the head reads, `[rows, K·K + K·N + V]`.
    pub(super) fn project(&self, values: &[T], projected: &mut Vec<T>, team: &mut Team<T>) {
        let sizes = self.weights.sizes;
        let positions = values.len() / sizes.values;
        let values = Matrix::dense(values, positions, sizes.values);
        let projected = sized(projected, positions * sizes.read());
        self.maps
            .forward_on(values, projected, Epilogue::Replace, team);
    }

    /// Runs `steps` steps of every row; see [`logits`](Self::logits).
    pub fn forward(&mut self, inputs: TransducerInputs<'_, T>, steps: usize, team: &mut Team<T>) {
        let (sizes, batch) = (self.weights.sizes, inputs.lengths.len());
        self.dims = Dims {
            batch,
            len: inputs.len,
            steps,
        };
        let mut projected = std::mem::take(&mut self.trace.projected);
        self.project(inputs.values, &mut projected, team);
        self.trace.projected = projected;
        let (weights, dims) = (&self.weights, self.dims);
        on_rows(
            &mut self.trace,
            sizes,
            inputs,
            dims,
            team,
            |source, _, rows| {
                forward_row(weights, source, rows);
            },
        );

        let (reads, vocab) = (&self.trace.reads, sizes.vocab);
        let logits = sized(&mut self.logits, steps * batch * vocab);
        team.on_rows(logits, steps, batch * vocab, |range, logits| {
            for (index, logits) in logits.chunks_exact_mut(vocab.max(1)).enumerate() {
                let (step, row) = (range.start + index / batch, index % batch);
                let read = &reads[(row * (steps + 1) + step + 1) * sizes.read()..];
                logits.copy_from_slice(&read[sizes.choices()..sizes.read()]);
            }
        });
        self.logits.truncate(steps * batch * vocab);
    }

    /// The logits of the last forward pass, `[T, B, V]`.
    pub fn logits(&self) -> &[T] {
        &self.logits
    }

    /// The logits, mutable: the caller replaces them by their gradients before the backward pass.
    pub fn logits_mut(&mut self) -> &mut [T] {
        &mut self.logits
    }

    /// The probabilities of the moves in the last forward pass, `[B, T, N]`.
    #[cfg(test)]
    pub(super) fn kernels(&self) -> &[T] {
        &self.trace.kernels
    }

    /// Computes the gradients of the parameters and of the values, given those of the logits.
    pub fn backward(
        &mut self,
        inputs: TransducerInputs<'_, T>,
        bonus: EntropyBonus<'_>,
        d_values: &mut [T],
        grads: TransducerParams<&mut [T]>,
        team: &mut Team<T>,
    ) {
        let (sizes, dims) = (self.weights.sizes, self.dims);
        let (weights, logits) = (&self.weights, &self.logits);
        let factor = T::from_f64(bonus.factor);
        on_rows(
            &mut self.trace,
            sizes,
            inputs,
            dims,
            team,
            |source, row, rows| {
                let reads = rows.reads.chunks_exact_mut(sizes.read());
                for (step, read) in reads.enumerate() {
                    let d_logits = &mut read[sizes.choices()..];
                    match step.checked_sub(1) {
                        Some(before) => d_logits.copy_from_slice(
                            &logits[(before * dims.batch + row) * sizes.vocab..][..sizes.vocab],
                        ),
                        None => d_logits.fill(T::ZERO),
                    }
                }
                backward_row(weights, source, (factor, bonus.steps[row]), rows);
            },
        );

        let read_rows = dims.batch * (dims.steps + 1);
        let d_reads = Matrix::dense(&self.trace.reads, read_rows, sizes.read());
        let modes = Matrix::dense(&self.trace.modes, read_rows, sizes.modes);
        let [transition, kernel, output] = parts(sizes, d_reads);
        bias_gradient(grads.transition_bias, transition, team);
        bias_gradient(grads.kernel_bias, kernel, team);
        bias_gradient(grads.output_bias, output, team);
        weight_gradient(
            grads.mode_output,
            sizes.modes,
            output,
            modes,
            Epilogue::Replace,
            team,
        );
        let d_sharpness = Matrix::dense(&self.trace.d_sharpness, dims.batch, sizes.modes);
        bias_gradient(grads.sharpness, d_sharpness, team);

        let positions = dims.batch * dims.len;
        let d_projected = Matrix::dense(&self.trace.d_projected, positions, sizes.read());
        let values = Matrix::dense(inputs.values, positions, sizes.values);
        let [transition, kernel, output] = parts(sizes, d_projected);
        let mut weights = [
            (grads.transition_weight, transition),
            (grads.kernel_weight, kernel),
            (grads.output_weight, output),
        ];
        weight_gradients(&mut weights, sizes.values, values, Epilogue::Replace, team);
        self.maps
            .backward_on(d_projected, d_values, Epilogue::Replace, team);
    }
}

/// Added to the diagonal of the transitions, so that an untrained model tends to stay in its mode.
const STAY: f64 = 2.0;

/// The columns of the transitions, of the moves and of the logits.
fn parts<T: Copy>(sizes: TransducerSizes, reads: Matrix<'_, T>) -> [Matrix<'_, T>; 3] {
    let (transitions, choices) = (sizes.modes * sizes.modes, sizes.choices());
    [
        reads.columns(0, transitions),
        reads.columns(transitions, choices - transitions),
        reads.columns(choices, sizes.vocab),
    ]
}

/// Runs `task` on every row, with the rows shared among the threads.
fn on_rows<T: Real>(
    trace: &mut Trace<T>,
    sizes: TransducerSizes,
    inputs: TransducerInputs<'_, T>,
    dims: Dims,
    team: &mut Team<T>,
    task: impl Fn(RowSource<'_, T>, usize, Rows<'_, T>) + Sync,
) {
    let (projected, mut rows) = trace.rows(sizes, dims);
    let work = team.ranges(dims.batch).into_iter().map(|range| {
        let rows = rows.take(range.len(), sizes, dims);
        (range, rows)
    });
    let (work, width) = (work.collect(), dims.len * sizes.read());
    team.run(work, |(range, mut rows), _| {
        for row in range {
            let source = RowSource {
                projected: &projected[row * width..][..width],
                length: inputs.lengths[row],
                progress: T::from_f64(inputs.progress),
                dims,
            };
            task(source, row, rows.take(1, sizes, dims));
        }
    });
}

/// What a head reads: the projections by its weights, and the bias.
#[inline(always)]
pub(super) fn read<T: Real>(
    weights: &Weights<T>,
    projected: &[T],
    head: impl Iterator<Item = (usize, T)>,
    mode: Option<&[T]>,
    read: &mut [T],
) {
    let Weights {
        sizes,
        bias,
        mode_output,
        ..
    } = weights;
    read.fill(T::ZERO);
    for (position, weight) in head {
        // A probability of 0 would add 0.
        if weight != T::ZERO {
            add_scaled(
                read,
                weight,
                &projected[position * sizes.read()..][..sizes.read()],
            );
        }
    }
    add_to(read, bias);
    let logits = &mut read[sizes.choices()..];
    for (&mode, outputs) in mode
        .into_iter()
        .flatten()
        .zip(mode_output.chunks_exact(sizes.vocab))
    {
        add_scaled(logits, mode, outputs);
    }
}

multiversion! {
    /// All steps of a row.
    fn forward_row<T>(weights: &Weights<T>, source: RowSource<'_, T>, rows: Rows<'_, T>) {
        let (sizes, length, progress) = (weights.sizes, source.length, source.progress);
        let Dims { len, steps, .. } = source.dims;
        let (n_modes, n_moves, n_read) = (sizes.modes, sizes.moves(), sizes.read());
        let whole = 0..length;

        let head = &mut rows.heads[..len];
        head.fill(T::ZERO);
        head[..length.min(1)].fill(T::ONE);
        let mode = &mut rows.modes[..n_modes];
        mode.fill(T::ZERO);
        mode[0] = T::ONE;
        let first = (0..length.min(1)).map(|position| (position, T::ONE));
        read(weights, source.projected, first, None, &mut rows.reads[..n_read]);

        for step in 0..steps {
            let (choices, next) = rows.reads[step * n_read..][..2 * n_read].split_at_mut(n_read);
            normalize(sizes, choices);
            let (before, mode) = rows.modes[step * n_modes..][..2 * n_modes].split_at_mut(n_modes);
            let mixed = &mut rows.mixed[step * n_modes..][..n_modes];
            next_mode(sizes, choices, progress, before, mixed, mode);
            let moves = &mut rows.kernels[step * n_moves..][..n_moves];
            move_probabilities(sizes, choices, mode, moves);

            let (before, head) = rows.heads[step * len..][..2 * len].split_at_mut(len);
            let moved = &mut rows.moved[step * len..][..length];
            moved.fill(T::ZERO);
            shift(sizes, moves, &before[..length], from_ref(&whole), moved);
            let (real, padded) = head.split_at_mut(length);
            padded.fill(T::ZERO);
            scores(head_exponent(mode, &weights.sharpness, progress), moved, real);
            softmax(real);
            let head = real.iter().copied().enumerate();
            read(weights, source.projected, head, Some(mode), next);
        }
    }

    /// The backward pass of a row: replaces what the head read by its gradients, and computes those of the
    /// projections. `bonus` is the factor on the entropy and the number of real steps.
    fn backward_row<T>(
        weights: &Weights<T>,
        source: RowSource<'_, T>,
        bonus: (T, usize),
        rows: Rows<'_, T>,
    ) {
        let (sizes, length, progress) = (weights.sizes, source.length, source.progress);
        let Dims { len, steps, .. } = source.dims;
        let (n_modes, n_moves, n_read) = (sizes.modes, sizes.moves(), sizes.read());
        let (factor, real_steps) = bonus;

        rows.d_projected.fill(T::ZERO);
        rows.d_sharpness.fill(T::ZERO);
        let mut d_head = vec![T::ZERO; length];
        let mut d_before = vec![T::ZERO; length];
        let mut d_mode = vec![T::ZERO; n_modes];
        let mut d_moves = vec![T::ZERO; n_moves];
        // After the last step of a row, only its logits are used.
        for step in real_steps..=steps {
            let n = if step == real_steps { sizes.choices() } else { n_read };
            rows.reads[step * n_read..][..n].fill(T::ZERO);
        }
        for step in (0..real_steps.min(steps)).rev() {
            let (choices, d_read) = rows.reads[step * n_read..][..2 * n_read].split_at_mut(n_read);
            let (mode_before, mode) =
                rows.modes[step * n_modes..][..2 * n_modes].split_at_mut(n_modes);
            let (head_before, head) = rows.heads[step * len..][..2 * len].split_at_mut(len);
            let (head_before, head) = (&head_before[..length], &head[..length]);
            let moved = &rows.moved[step * len..][..length];
            let moves = &rows.kernels[step * n_moves..][..n_moves];

            // forward: read = Σ_s head[s] projected[s], logits = read + M mode
            let d_logits = &d_read[sizes.choices()..];
            let outputs = weights.mode_output.chunks_exact(sizes.vocab);
            for (d_mode, outputs) in d_mode.iter_mut().zip(outputs) {
                *d_mode += dot(outputs, d_logits);
            }
            let positions = source.projected.chunks_exact(n_read);
            let d_positions = rows.d_projected.chunks_exact_mut(n_read);
            for (((d_head, &weight), projected), d_projected) in
                d_head.iter_mut().zip(head).zip(positions).zip(d_positions)
            {
                *d_head += dot(projected, d_read);
                add_scaled(d_projected, weight, d_read);
            }
            softmax_backward(head, &mut d_head);
            let sharpness = (&*mode, &*weights.sharpness);
            scores_backward(sharpness, progress, moved, &mut d_head, &mut d_mode, rows.d_sharpness);
            shift_backward(sizes, moves, head_before, &d_head, &mut d_moves, &mut d_before);
            std::mem::swap(&mut d_head, &mut d_before);

            if factor > T::ZERO {
                entropy_backward(moves, factor, &mut d_moves);
            }
            move_probabilities_backward(sizes, choices, mode, &d_moves, &mut d_mode);
            let mixed = &mut rows.mixed[step * n_modes..][..n_modes];
            next_mode_backward(sizes, choices, progress, mode_before, mixed, mode, &mut d_mode);
        }
        if length > 0 {
            add_to(&mut rows.d_projected[..n_read], &rows.reads[..n_read]);
        }
    }
}
