//! One row of a panel in the registers of each instruction set.
#![expect(
    unsafe_code,
    reason = "vector instructions and unchecked loads in the innermost loop"
)]

use super::PANEL;

/// One row of a panel, in registers.
///
/// # Safety
/// The CPU must support the instruction set. `load` and `store` require `PANEL` valid elements. All
/// functions are inlined into a function that enables the instruction set.
pub(super) trait Vector: Copy {
    /// Rows of the largest tile.
    const ROWS: usize;
    /// The most vectors that a tile can accumulate without spilling registers.
    const SUMS: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    /// `self * factor + sum`
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;

    /// Prefetches the cache line at an address, which need not be valid.
    #[inline(always)]
    unsafe fn prefetch(_line: *const f32) {}

    /// Prefetches the cache line at an address into the second-level cache.
    #[inline(always)]
    unsafe fn prefetch_far(_line: *const f32) {}
}

/// Arrays, which the compiler vectorizes with the instructions that every CPU of the target has.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; PANEL]);

/// AArch64 always has fused multiply-add and 32 registers. On other targets, `f32::mul_add` may be a
/// call to the C library.
const ALWAYS_FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

impl Vector for Portable {
    const ROWS: usize = if ALWAYS_FUSED { 6 } else { 2 };
    const SUMS: usize = Self::ROWS;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; PANEL])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees PANEL elements.
        Self(unsafe { from.cast::<[f32; PANEL]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees PANEL elements.
        unsafe { to.cast::<[f32; PANEL]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for lane in 0..PANEL {
            self.0[lane] += other.0[lane];
        }
        self
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, mut sum: Self) -> Self {
        for lane in 0..PANEL {
            let (a, b, c) = (self.0[lane], factor.0[lane], sum.0[lane]);
            sum.0[lane] = if ALWAYS_FUSED {
                a.mul_add(b, c)
            } else {
                a * b + c
            };
        }
        sum
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    /// Two registers: a tile of 6 × 16 fills 12 of 16 with sums.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256, __m256);

    /// One register: a tile of 8 × 48 fills 24 of 32 with sums.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    // The trait requires that the CPU supports the instructions and that the pointers are valid for
    // PANEL elements; none of the instructions needs alignment.

    impl Vector for Avx512 {
        const ROWS: usize = 8;
        const SUMS: usize = 24;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: required by the trait.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: required by the trait.
            Self(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: required by the trait.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: required by the trait.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: required by the trait.
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, sum.0) })
        }
        #[inline(always)]
        unsafe fn prefetch(line: *const f32) {
            // SAFETY: required by the trait.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
        }
        #[inline(always)]
        unsafe fn prefetch_far(line: *const f32) {
            // SAFETY: required by the trait.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
        }
    }

    impl Vector for Avx2 {
        const ROWS: usize = 6;
        const SUMS: usize = 6;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: required by the trait.
            let value = unsafe { _mm256_set1_ps(value) };
            Self(value, value)
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: required by the trait.
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: required by the trait.
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: required by the trait.
            unsafe {
                Self(
                    _mm256_add_ps(self.0, other.0),
                    _mm256_add_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: required by the trait.
            unsafe {
                Self(
                    _mm256_fmadd_ps(self.0, factor.0, sum.0),
                    _mm256_fmadd_ps(self.1, factor.1, sum.1),
                )
            }
        }
        #[inline(always)]
        unsafe fn prefetch(line: *const f32) {
            // SAFETY: required by the trait.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
        }
        #[inline(always)]
        unsafe fn prefetch_far(line: *const f32) {
            // SAFETY: required by the trait.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
        }
    }
}
