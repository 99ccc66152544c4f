//! How fast this core multiplies and adds: what every kernel is held against.
//!
//! The loop reads no memory. It runs as many independent chains of fused multiply-adds as hide the
//! latency of one, which takes four cycles or so and starts twice a cycle.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::simd::{Isa, multiversion};

/// Sums of a chain: one register of AVX-512, two of AVX2, four of NEON.
const LANES: usize = 16;

/// Chains that fit the 16 registers of AVX2, and the 32 of AVX-512.
const CHAINS: usize = 6;
const CHAINS_AVX512: usize = 12;

/// Long enough (some 50 µs) for the clock, short enough to pass between two interruptions.
const STEPS: usize = 20_000;
const REPEATS: usize = 20;

/// The most that one core does now, in 10⁹ single-precision operations a second. A multiply-add is
/// two.
///
/// It takes about a millisecond, and is the best of several repeats; where the core is shared or
/// its clock varies, take the best of several calls.
pub fn fma_peak_gflops() -> f64 {
    let (run, chains): (fn(f32, f32) -> f32, _) = match Isa::chosen() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => (wide, CHAINS_AVX512),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (narrow, CHAINS),
        Isa::Portable if cfg!(target_arch = "aarch64") => (narrow, CHAINS),
        Isa::Portable => (separate, CHAINS),
    };
    let repeat = || {
        let started = Instant::now();
        // The sums tend to 1: neither infinite nor denormal, which would be slow.
        black_box(run(black_box(0.75), black_box(0.25)));
        started.elapsed()
    };
    let best = (0..REPEATS).map(|_| repeat()).min();
    let best = best.unwrap_or(Duration::MAX).max(Duration::from_nanos(1));
    (2 * LANES * chains * STEPS) as f64 / best.as_secs_f64() / 1e9
}

multiversion! {
    fn narrow(factor: f32, term: f32) -> f32 {
        run::<CHAINS>(|sum| sum.mul_add(factor, term))
    }

    fn wide(factor: f32, term: f32) -> f32 {
        run::<CHAINS_AVX512>(|sum| sum.mul_add(factor, term))
    }

    /// For processors on which a fused multiply-add is a call into the C library.
    fn separate(factor: f32, term: f32) -> f32 {
        run::<CHAINS>(|sum| sum * factor + term)
    }
}

/// Chains that begin with numbers of their own, or the compiler would see that they are one.
#[inline(always)]
fn run<const N: usize>(step: impl Fn(f32) -> f32) -> f32 {
    let mut sums: [[f32; LANES]; N] =
        std::array::from_fn(|i| std::array::from_fn(|lane| (i * LANES + lane) as f32));
    for _ in 0..STEPS {
        for chain in &mut sums {
            for sum in chain {
                *sum = step(*sum);
            }
        }
    }
    sums.iter().flatten().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_every_isa;

    #[test]
    fn the_peak_is_some_number_of_operations_on_every_set() {
        on_every_isa(|isa| {
            let peak = fma_peak_gflops();
            assert!(peak.is_finite() && peak > 0.0, "{isa:?}: {peak}");
        });
    }
}
