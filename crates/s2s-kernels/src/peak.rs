//! How fast this core multiplies and adds: what every kernel is held against.
//!
//! The loop reads no memory. It runs as many independent chains of fused multiply-adds as hide the
//! latency of one, which takes four cycles or so and starts twice a cycle. The compiler does not keep
//! arrays of plain numbers in registers reliably, hence the intrinsics.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::simd::Isa;

/// Chains, each in a register: enough for the latency, and they fit the 16 registers of AVX2.
const CHAINS: usize = 12;

/// Long enough (some 40 µs) for the clock, short enough to pass between two interruptions.
const STEPS: usize = 20_000;
const REPEATS: usize = 20;

/// The most that one core does now, in 10⁹ single-precision operations a second. A multiply-add is
/// two.
///
/// It takes about a millisecond, and is the best of several repeats; where the core is shared or
/// its clock varies, take the best of several calls.
pub fn fma_peak_gflops() -> f64 {
    let isa = Isa::chosen();
    let repeat = || {
        let started = Instant::now();
        // The sums tend to 1: neither infinite nor denormal, which would be slow.
        let (factor, term) = black_box((0.75, 0.25));
        black_box(run(isa, factor, term));
        started.elapsed()
    };
    let best = (0..REPEATS).map(|_| repeat()).min();
    let best = best.unwrap_or(Duration::MAX).max(Duration::from_nanos(1));
    (2 * lanes(isa) * CHAINS * STEPS) as f64 / best.as_secs_f64() / 1e9
}

/// Numbers in a register.
fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Portable => 4,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => 8,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => 16,
    }
}

/// `STEPS` multiply-adds in each chain.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the processor was asked for the instructions")
)]
fn run(isa: Isa, factor: f32, term: f32) -> f32 {
    match isa {
        Isa::Portable => portable(factor, term),
        // SAFETY: the processor has what it was asked for.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(factor, term) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(factor, term) },
    }
}

/// What the chains begin with: numbers of their own, or the compiler would see that they are one.
fn first() -> [f32; CHAINS] {
    std::array::from_fn(|chain| chain as f32)
}

fn portable(factor: f32, term: f32) -> f32 {
    // In the instructions that every processor has it is two, except on AArch64.
    const IS_FUSED: bool = cfg!(target_arch = "aarch64");
    let (factor, term) = ([factor; 4], [term; 4]);
    let mut sums = first().map(|sum| [sum; 4]);
    for _ in 0..STEPS {
        for sum in &mut sums {
            for lane in 0..4 {
                sum[lane] = match IS_FUSED {
                    true => sum[lane].mul_add(factor[lane], term[lane]),
                    false => sum[lane] * factor[lane] + term[lane],
                };
            }
        }
    }
    sums.iter().flatten().sum()
}

/// A chain a vector register of 256 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(factor: f32, term: f32) -> f32 {
    let (factor, term) = (x86::_mm256_set1_ps(factor), x86::_mm256_set1_ps(term));
    let mut sums = [term; CHAINS];
    for (sum, first) in sums.iter_mut().zip(first()) {
        *sum = x86::_mm256_set1_ps(first);
    }
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = x86::_mm256_fmadd_ps(*sum, factor, term);
        }
    }
    let mut total = term;
    for sum in sums {
        total = x86::_mm256_add_ps(total, sum);
    }
    x86::_mm256_cvtss_f32(total)
}

/// The same, of 512 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(factor: f32, term: f32) -> f32 {
    let (factor, term) = (x86::_mm512_set1_ps(factor), x86::_mm512_set1_ps(term));
    let mut sums = [term; CHAINS];
    for (sum, first) in sums.iter_mut().zip(first()) {
        *sum = x86::_mm512_set1_ps(first);
    }
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = x86::_mm512_fmadd_ps(*sum, factor, term);
        }
    }
    let mut total = term;
    for sum in sums {
        total = x86::_mm512_add_ps(total, sum);
    }
    x86::_mm512_cvtss_f32(total)
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
