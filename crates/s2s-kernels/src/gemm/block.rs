//! The product over one stretch of the reduced axis, in tiles that stay in registers.
//!
//! A tile is a few rows by a few panels. Its sums start at zero, take one fused multiply-add for
//! each step along the reduced axis, in ascending order, and are then written, added or biased.
//! Neither the tile's size nor its place changes that order, so neither changes an element's bits.
#![expect(
    unsafe_code,
    reason = "the innermost loops read through pointers, without checks"
)]

#[cfg(target_arch = "x86_64")]
use super::vector::{Avx2, Avx2Half, Avx512};
use super::vector::{Portable, Vector};
use super::{Output, PANEL, PanelRow};
use crate::simd::Isa;

/// A left side `[rows, depth]`: element `[r, k]` is at `r * row_stride + k * depth_stride`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) data: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) depth_stride: usize,
    pub(super) rows: usize,
}

/// A right side `[depth, cols]`: panel `p` starts at `p * stride`.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) panels: &'a [PanelRow],
    pub(super) stride: usize,
    pub(super) depth: usize,
    pub(super) cols: usize,
}

/// The number of elements from the first to the last of a matrix whose rows are `stride` apart.
pub(super) fn extent(rows: usize, cols: usize, stride: usize) -> usize {
    if rows == 0 || cols == 0 {
        return 0;
    }
    let before_last = (rows - 1)
        .checked_mul(stride)
        .expect("the matrix fits in memory");
    before_last
        .checked_add(cols)
        .expect("the matrix fits in memory")
}

/// `C[rows, cols] = left · right`, finished as `output` says.
pub(super) fn multiply(
    isa: Isa,
    c: &mut [f32],
    c_stride: usize,
    left: Left,
    right: Right,
    output: Output,
) {
    let Left { rows, .. } = left;
    let Right { depth, cols, .. } = right;
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(
        c.len() >= extent(rows, cols, c_stride),
        "C is too short for {rows} rows of {cols}"
    );
    if depth > 0 {
        let last = extent(rows, 1, left.row_stride) - 1;
        let reach = last
            .checked_add(extent(depth, 1, left.depth_stride))
            .expect("A fits in memory");
        assert!(
            left.data.len() >= reach,
            "A is too short for {rows} rows of {depth}"
        );
        let reach = extent(cols.div_ceil(PANEL), depth, right.stride);
        assert!(
            right.panels.len() >= reach,
            "B is too short for {depth} rows of {cols}"
        );
    }
    if let Output::Bias(bias) = output {
        assert_eq!(bias.len(), cols, "the bias must have one element a column");
    }
    let (c, a, b) = (
        c.as_mut_ptr(),
        left.data.as_ptr(),
        right.panels.as_ptr().cast(),
    );
    let block = Block {
        c,
        c_stride,
        a,
        left,
        b,
        right,
        output,
    };
    // SAFETY: the matrices hold what the loops read and write, as asserted; the instructions
    // exist, since `isa` is the processor's.
    unsafe {
        match isa {
            Isa::Portable => run::<Portable<16>, Portable<8>>(&block),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => run_avx2(&block),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => run_avx512(&block),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(block: &Block) {
    // SAFETY: the caller's.
    unsafe { run::<Avx2, Avx2Half>(block) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn run_avx512(block: &Block) {
    // SAFETY: the caller's.
    unsafe { run::<Avx512, Avx2Half>(block) }
}

struct Block<'a> {
    c: *mut f32,
    c_stride: usize,
    a: *const f32,
    left: Left<'a>,
    b: *const f32,
    right: Right<'a>,
    output: Output<'a>,
}

/// All panels, a few at a time: while they are in the nearest cache, all rows pass over them.
#[inline(always)]
unsafe fn run<V: Vector, H: Vector>(block: &Block) {
    let cols = block.right.cols;
    let tail = cols % PANEL;
    let has_half = 0 < tail && tail <= H::WIDTH;
    let panels = cols / PANEL + usize::from(tail > H::WIDTH);

    let tiles = block.left.rows.div_ceil(V::ROWS);
    let at_once = (V::SUMS / block.left.rows.div_ceil(tiles)).min(4);
    let mut panel = 0;
    // SAFETY: `panel` stays below the number of panels, as the sizes were checked.
    unsafe {
        while panel < panels {
            let count = at_once.min(panels - panel);
            match count {
                1 => rows::<V, 1>(block, panel),
                2 => rows::<V, 2>(block, panel),
                3 => rows::<V, 3>(block, panel),
                _ => rows::<V, 4>(block, panel),
            }
            panel += count;
        }
        if has_half {
            rows::<H, 1>(block, panel);
        }
    }
}

/// All rows over `PANELS` panels, in tiles whose heights differ by one at most.
#[inline(always)]
unsafe fn rows<V: Vector, const PANELS: usize>(block: &Block, panel: usize) {
    let rows = block.left.rows;
    let tiles = rows.div_ceil(V::ROWS);
    let (height, higher) = (rows / tiles, rows % tiles);
    let mut row = 0;
    for index in 0..tiles {
        let height = height + usize::from(index < higher);
        // The next panels come closer while this tile is computed.
        let ahead = if index < PANELS {
            panel + PANELS + index
        } else {
            panel
        };
        // SAFETY: `row + height` stays within the rows.
        macro_rules! dispatch {
            ($($height:literal)*) => {
                match height {
                    $($height if $height * PANELS <= V::SUMS => unsafe {
                        tile::<V, $height, PANELS>(block, row, panel, ahead)
                    },)*
                    _ => unreachable!("a tile of {height} rows by {PANELS} panels"),
                }
            };
        }
        dispatch!(1 2 3 4 5 6 7 8);
        row += height;
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const PANELS: usize>(
    block: &Block,
    row: usize,
    panel: usize,
    ahead: usize,
) {
    let Left {
        row_stride,
        depth_stride,
        ..
    } = block.left;
    let Right {
        stride,
        depth,
        cols,
        ..
    } = block.right;
    // SAFETY: the tile lies within the matrices, except for columns of the last panel that C does
    // not have; the panel has them, and `finish` leaves them out. A prefetch may point anywhere.
    unsafe {
        let mut sums = [[V::splat(0.0); PANELS]; ROWS];
        let mut a = block.a.wrapping_add(row * row_stride);
        let mut b = block.b.add(panel * stride * PANEL);
        let mut next = block.b.wrapping_add(ahead * stride * PANEL);
        for _ in 0..depth {
            let mut right = [V::splat(0.0); PANELS];
            for p in 0..PANELS {
                right[p] = V::load(b.add(p * stride * PANEL));
            }
            for r in 0..ROWS {
                let left = V::splat(*a.add(r * row_stride));
                for p in 0..PANELS {
                    sums[r][p] = left.mul_add(right[p], sums[r][p]);
                }
            }
            V::prefetch(next);
            a = a.wrapping_add(depth_stride);
            b = b.wrapping_add(PANEL);
            next = next.wrapping_add(PANEL);
        }
        for r in 0..ROWS {
            for p in 0..PANELS {
                let col = (panel + p) * PANEL;
                let c = block.c.add((row + r) * block.c_stride + col);
                finish(sums[r][p], c, col, cols, block.output);
            }
        }
    }
}

/// Writes one vector of sums to `c`, whose first column is `col`.
#[inline(always)]
unsafe fn finish<V: Vector>(sum: V, c: *mut f32, col: usize, cols: usize, output: Output) {
    // SAFETY: `c` is valid for `WIDTH` elements or, in the last panel, for `cols - col`.
    unsafe {
        if col + V::WIDTH <= cols {
            let sum = match output {
                Output::Replace => sum,
                Output::Add => V::load(c).add(sum),
                Output::Bias(bias) => sum.add(V::load(bias.as_ptr().add(col))),
            };
            return sum.store(c);
        }
        let mut sums = [0.0; PANEL];
        sum.store(sums.as_mut_ptr());
        for lane in 0..cols - col {
            let c = c.add(lane);
            *c = match output {
                Output::Replace => sums[lane],
                Output::Add => *c + sums[lane],
                Output::Bias(bias) => sums[lane] + bias[col + lane],
            };
        }
    }
}
