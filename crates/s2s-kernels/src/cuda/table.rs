//! Embeddings, sums of columns and copies on the device.

#![expect(unsafe_code, reason = "passes a struct to kernels")]

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

use super::queue::{Argument, Queue, View, blocks, each, launch};

/// Tensors of a launch, as in `kernels/optim.cu`.
pub(super) const TENSORS: usize = 32;

/// The positions of a batch whose tokens are embedded.
#[derive(Clone, Copy, Debug)]
pub struct Positions<'a> {
    /// Token ids, `[B, len]`.
    pub ids: View<'a, u32>,
    /// Rows, `B`.
    pub batch: usize,
    /// Padded length.
    pub len: usize,
    /// Width of an embedding, `E`.
    pub width: usize,
    /// Dropout factors, `[B, len, E]`.
    pub mask: Option<View<'a, f32>>,
}

/// The embeddings of all positions, `[len, B, E]`.
///
/// # Errors
/// If the driver fails.
pub fn embed(
    queue: &Queue,
    at: Positions<'_>,
    table: View<'_, f32>,
    output: View<'_, f32>,
) -> Result<()> {
    embed_some(queue, at, table, output, 0, at.len, None)
}

/// The embeddings `[B, E]` of one position. A token that is not `forced`, `[B, len]`, is replaced by its row's
/// prediction, `[B]`.
pub(super) fn embed_chosen(
    queue: &Queue,
    at: Positions<'_>,
    table: View<'_, f32>,
    output: View<'_, f32>,
    position: usize,
    forced: View<'_, u32>,
    predictions: View<'_, u32>,
) -> Result<()> {
    embed_some(
        queue,
        at,
        table,
        output,
        position,
        1,
        Some((forced, predictions)),
    )
}

fn embed_some(
    queue: &Queue,
    at: Positions<'_>,
    table: View<'_, f32>,
    output: View<'_, f32>,
    first: usize,
    n: usize,
    chosen: Option<(View<'_, u32>, View<'_, u32>)>,
) -> Result<()> {
    let Positions {
        ids,
        batch,
        len,
        width,
        mask,
    } = at;
    assert_eq!(
        (ids.len, output.len),
        (batch * len, n * batch * width),
        "embedded positions"
    );
    let (forced, predictions) = chosen.unzip();
    launch!(
        queue,
        Embed,
        each(output.len),
        output,
        table,
        ids,
        forced,
        predictions,
        mask,
        first,
        n,
        batch,
        len,
        width,
    )
}

/// The gradient of the table, from that of the embeddings of all positions.
///
/// # Errors
/// If the driver fails.
pub fn embed_backward(
    queue: &Queue,
    at: Positions<'_>,
    d_output: View<'_, f32>,
    d_table: View<'_, f32>,
) -> Result<()> {
    const THREADS: usize = 256;
    let Positions {
        ids,
        batch,
        len,
        width,
        mask,
    } = at;
    assert_eq!(
        (ids.len, d_output.len),
        (batch * len, len * batch * width),
        "embedded positions"
    );
    let grid = blocks(d_table.len / width, width.div_ceil(THREADS), THREADS);
    launch!(
        queue,
        EmbedBackward,
        grid,
        d_table,
        d_output,
        ids,
        mask,
        batch,
        len,
        width
    )
}

/// The sums of the columns of `[rows, columns]` numbers, rows `stride` apart.
///
/// # Errors
/// If the driver fails.
pub fn column_sums(
    queue: &Queue,
    sums: View<'_, f32>,
    matrix: View<'_, f32>,
    stride: usize,
    rows: usize,
) -> Result<()> {
    const COLUMNS: usize = 32;
    const LANES: usize = 16;
    let columns = sums.len;
    assert!(
        (rows - 1) * stride + columns <= matrix.len,
        "rows of a matrix"
    );
    let grid = blocks(columns.div_ceil(COLUMNS), 1, COLUMNS * LANES);
    launch!(queue, ColumnSums, grid, sums, matrix, stride, rows, columns)
}

/// `tanh(x + bias)` in place; `x` is `[rows, bias.len()]`, rows `stride` apart.
///
/// # Errors
/// If the driver fails.
pub fn bias_tanh(
    queue: &Queue,
    x: View<'_, f32>,
    stride: usize,
    bias: View<'_, f32>,
    rows: usize,
) -> Result<()> {
    assert!((rows - 1) * stride + bias.len <= x.len, "rows of a matrix");
    launch!(
        queue,
        BiasTanh,
        each(rows * bias.len),
        x,
        stride,
        bias,
        rows,
        bias.len
    )
}

/// `d_x *= 1 - y²`, for `y = tanh(x)`; `d_x` is `[rows, width]`, rows of `y` are `stride` apart.
///
/// # Errors
/// If the driver fails.
pub fn tanh_backward(
    queue: &Queue,
    d_x: View<'_, f32>,
    y: View<'_, f32>,
    stride: usize,
    rows: usize,
) -> Result<()> {
    let width = d_x.len / rows;
    assert!((rows - 1) * stride + width <= y.len, "rows of a matrix");
    launch!(
        queue,
        TanhBackward,
        each(d_x.len),
        d_x,
        y,
        stride,
        rows,
        width
    )
}

impl Queue {
    /// Copies `[rows, columns]` numbers between memory where rows are `stride` numbers apart.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn copy_rows(
        &self,
        (to, to_stride): (View<'_, f32>, usize),
        (from, from_stride): (View<'_, f32>, usize),
        rows: usize,
        columns: usize,
    ) -> Result<()> {
        for (view, stride) in [(to, to_stride), (from, from_stride)] {
            assert!(
                (rows - 1) * stride + columns <= view.len,
                "rows of a matrix"
            );
        }
        launch!(
            self,
            CopyRows,
            each(rows * columns),
            to,
            to_stride,
            from,
            from_stride,
            rows,
            columns
        )
    }
}

/// Copies of many tensors, in a few launches.
#[derive(Debug, Default)]
pub struct Copies<'a>(Vec<[View<'a, f32>; 2]>);

impl<'a> Copies<'a> {
    /// Adds one.
    pub fn push(&mut self, to: View<'a, f32>, from: View<'a, f32>) {
        assert_eq!(to.len, from.len, "a copy has the length of its original");
        self.0.push([to, from]);
    }

    /// Submits them.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn run(&self, queue: &Queue) -> Result<()> {
        for some in self.0.chunks(TENSORS) {
            let copy = |[to, from]: &[View<'_, f32>; 2]| ([to.pointer, from.pointer, 0, 0], to.len);
            let tensors = Tensors::new(some.iter().map(copy));
            launch!(queue, CopyAll, tensors.grid(), tensors)?;
        }
        Ok(())
    }
}

/// Arrays of several tensors, as `kernels/optim.cu` defines them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Tensors {
    arrays: [[u64; 4]; TENSORS],
    n: [u64; TENSORS],
}

// SAFETY: pointers and counts, as in the kernel's struct.
unsafe impl DeviceRepr for Tensors {}

impl Tensors {
    /// From at most [`TENSORS`] tensors.
    pub(super) fn new(tensors: impl Iterator<Item = ([u64; 4], usize)>) -> Self {
        let mut all = Self {
            arrays: [[0; 4]; TENSORS],
            n: [0; TENSORS],
        };
        for (index, (arrays, n)) in tensors.enumerate() {
            (all.arrays[index], all.n[index]) = (arrays, n as u64);
        }
        all
    }

    /// As many blocks for each tensor as the largest needs, up to a bound.
    pub(super) fn grid(&self) -> candle_core::cuda_backend::cudarc::driver::LaunchConfig {
        const THREADS: usize = 256;
        const BLOCKS: usize = 256; // a thread then updates 16 of a million numbers
        let largest = self.n.iter().copied().max().unwrap_or(0) as usize;
        let count = self
            .n
            .iter()
            .rposition(|n| *n > 0)
            .map_or(1, |last| last + 1);
        blocks(largest.div_ceil(THREADS).clamp(1, BLOCKS), count, THREADS)
    }
}

impl Argument for Tensors {
    type Passed = Self;
    fn to_kernel(self) -> Self {
        self
    }
}
