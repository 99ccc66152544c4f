//! The peak throughput of one core, as an upper bound for every kernel.
//!
//! The loop reads no memory. It runs enough independent chains of fused multiply-adds to hide their
//! latency: one takes about four cycles, and two start in each cycle. It uses intrinsics because the
//! compiler does not reliably keep arrays of plain numbers in registers.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::simd::Isa;

/// Independent chains, one register each: enough to hide the latency, and few enough for the 16
/// registers of AVX2.
const CHAINS: usize = 12;

/// Long enough (about 40 µs) for the clock, short enough to run without an interruption.
const STEPS: usize = 20_000;
const REPEATS: usize = 20;

/// The peak throughput of one core, in 10⁹ single-precision operations per second. A multiply-add
/// counts as two operations.
///
/// The measurement takes about a millisecond and returns the best of several repeats. If the core is
/// shared or its clock varies, call it several times and take the best result.
pub fn fma_peak_gflops() -> f64 {
    gflops::<CHAINS>(Isa::chosen())
}

fn gflops<const CHAINS: usize>(isa: Isa) -> f64 {
    let repeat = || {
        let started = Instant::now();
        // The sums converge to 1, so that they become neither infinite nor subnormal, which is slow.
        let (factor, term) = black_box((0.75, 0.25));
        black_box(run::<CHAINS>(isa, factor, term));
        started.elapsed()
    };
    let best = (0..REPEATS).map(|_| repeat()).min();
    let best = best.unwrap_or(Duration::MAX).max(Duration::from_nanos(1));
    (2 * lanes(isa) * CHAINS * STEPS) as f64 / best.as_secs_f64() / 1e9
}

/// Numbers per register.
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
    expect(unsafe_code, reason = "the CPU supports the instructions")
)]
fn run<const CHAINS: usize>(isa: Isa, factor: f32, term: f32) -> f32 {
    match isa {
        Isa::Portable => portable::<CHAINS>(factor, term),
        // SAFETY: `Isa::chosen` returns only what the CPU supports.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::<CHAINS>(factor, term) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::<CHAINS>(factor, term) },
    }
}

/// The initial value of each chain. They differ, so that the compiler cannot merge the chains.
fn first<const CHAINS: usize>() -> [f32; CHAINS] {
    std::array::from_fn(|chain| chain as f32)
}

fn portable<const CHAINS: usize>(factor: f32, term: f32) -> f32 {
    // Of the baseline instruction sets, only AArch64 has fused multiply-add.
    const IS_FUSED: bool = cfg!(target_arch = "aarch64");
    let (factor, term) = ([factor; 4], [term; 4]);
    let mut sums = first::<CHAINS>().map(|sum| [sum; 4]);
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

/// Each chain is a 256-bit register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<const CHAINS: usize>(factor: f32, term: f32) -> f32 {
    let (factor, term) = (x86::_mm256_set1_ps(factor), x86::_mm256_set1_ps(term));
    let mut sums = [term; CHAINS];
    for (sum, first) in sums.iter_mut().zip(first::<CHAINS>()) {
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

/// Each chain is a 512-bit register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512<const CHAINS: usize>(factor: f32, term: f32) -> f32 {
    let (factor, term) = (x86::_mm512_set1_ps(factor), x86::_mm512_set1_ps(term));
    let mut sums = [term; CHAINS];
    for (sum, first) in sums.iter_mut().zip(first::<CHAINS>()) {
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

    /// A single chain is bound by the latency of a multiply-add. The limit is 4 multiply-adds per cycle
    /// at 10 GHz, which no core reaches: the compiler has not removed the loop.
    #[test]
    fn the_peak_exceeds_one_dependent_chain_and_is_physically_possible() {
        on_every_isa(|isa| {
            let (peak, dependent) = (fma_peak_gflops(), gflops::<1>(isa));
            assert!(peak > dependent, "{isa:?}: {peak}, one chain {dependent}");
            let limit = (2 * lanes(isa) * 4 * 10) as f64;
            assert!(peak < limit, "{isa:?}: {peak}");
        });
    }
}
