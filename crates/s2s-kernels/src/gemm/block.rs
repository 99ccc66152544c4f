//! The product over one part of the reduced axis, in tiles whose sums stay in registers.
//!
//! A tile is a few rows by a few panels. Each of its sums starts at zero, takes one multiply-add per
//! step along the reduced axis, in ascending order, and is then finished by the epilogue. Neither the
//! size of the tile nor the position in it changes this order, so neither changes the result's bits.
#![expect(unsafe_code, reason = "the innermost loops read without bounds checks")]

#[cfg(target_arch = "x86_64")]
use super::vector::{Avx2, Avx512};
use super::vector::{Portable, Vector};
use super::{PANEL, PanelRow};
use crate::matrix::{Epilogue, Matrix};
use crate::simd::Isa;

/// How many steps along the reduced axis a cache line is prefetched before it is read: about the
/// latency of the second-level cache.
const AHEAD: usize = 8;

/// A left side `[rows, depth]`: element `[r, k]` is at `r * row_stride + k * depth_stride`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    data: &'a [f32],
    rows: usize,
    row_stride: usize,
    depth: usize,
    depth_stride: usize,
}

impl<'a> Left<'a> {
    /// `a`, row by row.
    pub(super) fn rows(a: Matrix<'a, f32>) -> Self {
        Self::new(a, "A", a.rows, a.cols, a.stride, 1)
    }

    /// The transpose of `d`.
    pub(super) fn columns(d: Matrix<'a, f32>) -> Self {
        Self::new(d, "D", d.cols, d.rows, 1, d.stride)
    }

    fn new(
        matrix: Matrix<'a, f32>,
        name: &str,
        rows: usize,
        depth: usize,
        row_stride: usize,
        depth_stride: usize,
    ) -> Self {
        assert!(
            matrix.data.len() >= extent(matrix.rows, matrix.stride, matrix.cols),
            "{name} is too short for {}×{}",
            matrix.rows,
            matrix.cols
        );
        Self {
            data: matrix.data,
            rows,
            row_stride,
            depth,
            depth_stride,
        }
    }
}

/// A right side `[depth, cols]`, in panels of `depth` rows each.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    panels: &'a [PanelRow],
    depth: usize,
    cols: usize,
}

impl<'a> Right<'a> {
    pub(super) fn new(panels: &'a [PanelRow], depth: usize, cols: usize) -> Self {
        let reach = extent(cols.div_ceil(PANEL), depth, depth);
        assert!(panels.len() >= reach, "B is too short for {depth}×{cols}");
        Self {
            panels,
            depth,
            cols,
        }
    }
}

/// The number of elements from the first to the last one of `rows` rows of `cols`, `stride` apart.
pub(super) fn extent(rows: usize, stride: usize, cols: usize) -> usize {
    if rows == 0 || cols == 0 {
        return 0;
    }
    let last_row = (rows - 1).checked_mul(stride);
    last_row
        .and_then(|start| start.checked_add(cols))
        .expect("a matrix fits in memory")
}

/// `C[rows, cols] = left · right`, finished by the epilogue.
pub(super) fn multiply(
    c: &mut [f32],
    c_stride: usize,
    left: Left<'_>,
    right: Right<'_>,
    epilogue: Epilogue<'_, f32>,
) {
    let (rows, cols) = (left.rows, right.cols);
    assert_eq!(
        left.depth, right.depth,
        "the sides must agree on the reduced axis"
    );
    assert!(
        c.len() >= extent(rows, c_stride, cols),
        "C is too short for {rows}×{cols}"
    );
    if let Epilogue::Bias(bias) = epilogue {
        assert_eq!(
            bias.len(),
            cols,
            "the bias must have one element per column"
        );
    }
    if rows == 0 {
        return;
    }
    let block = Block {
        c: c.as_mut_ptr(),
        c_stride,
        left,
        right,
        epilogue,
    };
    // SAFETY: the matrices contain every element that the loops access: A and B by construction, C
    // and the bias by the assertions above. `Isa::chosen` returns only what the CPU supports.
    unsafe {
        match Isa::chosen() {
            Isa::Portable => all_panels::<Portable>(&block),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => all_panels_avx2(&block),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => all_panels_avx512(&block),
        }
    }
}

struct Block<'a> {
    c: *mut f32,
    c_stride: usize,
    left: Left<'a>,
    right: Right<'a>,
    epilogue: Epilogue<'a, f32>,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn all_panels_avx2(block: &Block) {
    // SAFETY: required of the caller.
    unsafe { all_panels::<Avx2>(block) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn all_panels_avx512(block: &Block) {
    // SAFETY: required of the caller.
    unsafe { all_panels::<Avx512>(block) }
}

/// Multiplies all rows with a few panels at a time, while those are in the cache.
#[inline(always)]
unsafe fn all_panels<V: Vector>(block: &Block) {
    let panels = block.right.cols.div_ceil(PANEL);
    let tiles = Tiles::of::<V>(block.left.rows);
    let at_once = (V::SUMS / tiles.highest()).min(4);
    for panel in (0..panels).step_by(at_once) {
        // SAFETY: the panels exist.
        unsafe {
            match at_once.min(panels - panel) {
                1 => all_rows::<V, 1>(block, &tiles, panel),
                2 => all_rows::<V, 2>(block, &tiles, panel),
                3 => all_rows::<V, 3>(block, &tiles, panel),
                _ => all_rows::<V, 4>(block, &tiles, panel),
            }
        }
    }
}

/// Rows split into tiles whose heights differ by at most one: a low tile uses each loaded value less
/// often.
struct Tiles {
    count: usize,
    height: usize,
    higher: usize,
}

impl Tiles {
    fn of<V: Vector>(rows: usize) -> Self {
        let count = rows.div_ceil(V::ROWS);
        Self {
            count,
            height: rows / count,
            higher: rows % count,
        }
    }

    fn highest(&self) -> usize {
        self.height + usize::from(self.higher > 0)
    }
}

/// Prefetches the next panels: each step of each tile requests a little of them, so that they have
/// arrived in the second-level cache by the time they are read.
struct Ahead {
    line: *const f32,
    /// Bytes from one step to the next.
    stride: usize,
}

impl Ahead {
    /// The first panels follow the last ones, for the next rows.
    fn of<const PANELS: usize>(block: &Block, tiles: &Tiles, panel: usize) -> Self {
        let Right { panels, depth, .. } = block.right;
        // So few tiles could not prefetch all of it, and the product is memory-bound anyway.
        if tiles.count < PANELS {
            return Self {
                line: panels.as_ptr().cast(),
                stride: 0,
            };
        }
        let next = (panel + PANELS) * depth;
        let next = if next < panels.len() { next } else { 0 };
        Self {
            line: panels.as_ptr().wrapping_add(next).cast(),
            stride: PANELS * size_of::<PanelRow>() / tiles.count,
        }
    }
}

#[inline(always)]
unsafe fn all_rows<V: Vector, const PANELS: usize>(block: &Block, tiles: &Tiles, panel: usize) {
    let mut row = 0;
    let mut ahead = Ahead::of::<PANELS>(block, tiles, panel);
    for index in 0..tiles.count {
        let height = tiles.height + usize::from(index < tiles.higher);
        macro_rules! tile_of {
            ($($rows:literal)*) => {
                match height {
                    // SAFETY: the tile's rows and panels exist.
                    $($rows if const { $rows * PANELS <= V::SUMS } => unsafe {
                        tile::<V, $rows, PANELS>(block, row, panel, &mut ahead);
                    },)*
                    _ => unreachable!("a tile of {height} rows by {PANELS} panels"),
                }
            };
        }
        tile_of!(1 2 3 4 5 6 7 8);
        row += height;
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const PANELS: usize>(
    block: &Block,
    row: usize,
    panel: usize,
    ahead: &mut Ahead,
) {
    let Block {
        c,
        c_stride,
        left,
        right,
        epilogue,
    } = *block;
    let corner = c.wrapping_add(row * c_stride + panel * PANEL);
    let mut a = left.data.as_ptr().wrapping_add(row * left.row_stride);
    let mut b = right
        .panels
        .as_ptr()
        .cast::<f32>()
        .wrapping_add(panel * right.depth * PANEL);
    // With one or two rows, the tile reads B at memory speed; prefetches would only compete.
    let prefetches = ROWS > 2;
    // SAFETY: the tile lies within A and B. It lies within C, except for the padding of the last
    // panel, which `finish` does not write.
    unsafe {
        // Load the output while the sums are computed.
        for r in 0..ROWS {
            for p in 0..PANELS {
                V::prefetch(corner.wrapping_add(r * c_stride + p * PANEL));
            }
        }
        let mut sums = [[V::splat(0.0); PANELS]; ROWS];
        for _ in 0..left.depth {
            let mut rights = [V::splat(0.0); PANELS];
            for (p, right_row) in rights.iter_mut().enumerate() {
                let b = b.wrapping_add(p * right.depth * PANEL);
                *right_row = V::load(b);
                if prefetches {
                    V::prefetch(b.wrapping_add(AHEAD * PANEL));
                }
            }
            if prefetches {
                V::prefetch(a.wrapping_add(AHEAD * left.depth_stride));
                V::prefetch_far(ahead.line);
                ahead.line = ahead.line.wrapping_byte_add(ahead.stride);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = V::splat(*a.add(r * left.row_stride));
                for (sum, right_row) in sums.iter_mut().zip(rights) {
                    *sum = value.mul_add(right_row, *sum);
                }
            }
            a = a.wrapping_add(left.depth_stride);
            b = b.wrapping_add(PANEL);
        }
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                let c = corner.add(r * c_stride + p * PANEL);
                finish(*sum, c, (panel + p) * PANEL, right.cols, epilogue);
            }
        }
    }
}

/// Writes a row of sums to `c`, whose first column is `col`.
#[inline(always)]
unsafe fn finish<V: Vector>(
    sum: V,
    c: *mut f32,
    col: usize,
    cols: usize,
    epilogue: Epilogue<'_, f32>,
) {
    // SAFETY: `c`, and the bias from `col` on, are valid for a row of the panel or, in the last panel,
    // for the remaining columns.
    unsafe {
        if col + PANEL <= cols {
            let sum = match epilogue {
                Epilogue::Replace => sum,
                Epilogue::Add => V::load(c).add(sum),
                Epilogue::Bias(bias) => sum.add(V::load(bias.as_ptr().add(col))),
            };
            return sum.store(c);
        }
        let mut sums = [0.0; PANEL];
        sum.store(sums.as_mut_ptr());
        for (lane, sum) in sums.into_iter().enumerate().take(cols - col) {
            let c = c.add(lane);
            *c = match epilogue {
                Epilogue::Replace => sum,
                Epilogue::Add => *c + sum,
                Epilogue::Bias(bias) => sum + bias[col + lane],
            };
        }
    }
}
