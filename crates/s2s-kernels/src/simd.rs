//! The instruction sets that kernels are compiled for, and the choice among them at run time.
//!
//! The compiler vectorizes a loop with the instructions that the enclosing function may use: by
//! default, those that every CPU of the target supports. [`multiversion!`] compiles an ordinary
//! function once per instruction set and selects one of them at each call:
//!
//! ```text
//! multiversion! {
//!     /// `out = tanh(query + key)`, element by element.
//!     pub(crate) fn tanh_of_sum(out: &mut [f32], query: &[f32], key: &[f32]) {
//!         for ((out, query), key) in out.iter_mut().zip(query).zip(key) {
//!             *out = activation::tanh(query + key);
//!         }
//!     }
//! }
//! ```
//!
//! For the body to be vectorized,
//!
//! * loop over zipped slices, or slice them to the same length first: a bounds check in the loop
//!   prevents vectorization;
//! * mark everything that the loop calls `#[inline(always)]`: a function that is not inlined runs
//!   portable code;
//! * make each call long: pass a whole row or batch and put the loop over rows inside. The selection
//!   takes one or two nanoseconds, and the function is not inlined.
//!
//! The compiler neither fuses multiplications with additions nor reorders them. A loop without sums
//! across elements therefore gives the same bits on every instruction set, in its vector body and in
//! its remainder. A sum across elements, such as a dot product, stays scalar unless it is written with
//! an array of partial sums. `f32::mul_add` is one instruction in AVX2 and AVX-512, but a call to the C
//! library in portable code: use it only in [`gemm`](crate::gemm).

use std::sync::OnceLock;

/// The environment variable that selects a narrower instruction set.
const VARIABLE: &str = "S2S_SIMD";

/// The name of the instruction set that the kernels use: `portable`, `avx2` or `avx512`.
///
/// It is the widest that the CPU supports. The environment variable `S2S_SIMD` selects a narrower one,
/// to test the kernels for other CPUs; it is read once, and an invalid value is ignored. `avx2` and
/// `avx512` give the same bits; `portable` rounds the products of matrices differently on x86-64.
///
/// # Errors
/// If `S2S_SIMD` is not the name of an instruction set that the CPU supports.
pub fn instruction_set() -> Result<&'static str, String> {
    Isa::from_env()?;
    Ok(Isa::chosen().name())
}

/// An instruction set that the kernels are compiled for, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Isa {
    /// What every CPU of the target supports: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// 256-bit vectors and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors, with the extensions of x86-64-v4.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    const ALL: &[Self] = &[
        Self::Portable,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
    ];

    /// The instruction set to use.
    #[inline]
    pub(crate) fn chosen() -> Self {
        #[cfg(test)]
        if let Some(isa) = forced::FORCED.get() {
            return isa;
        }
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        *CHOSEN.get_or_init(|| Self::from_env().unwrap_or_else(|_| Self::widest()))
    }

    fn from_env() -> Result<Self, String> {
        match std::env::var_os(VARIABLE) {
            Some(name) => Self::narrowed(&name.to_string_lossy(), Self::widest()),
            None => Ok(Self::widest()),
        }
    }

    /// The instruction set called `name`, on a CPU that supports those up to `widest`.
    fn narrowed(name: &str, widest: Self) -> Result<Self, String> {
        let supported = Self::ALL.iter().filter(|&&isa| isa <= widest);
        match supported.clone().find(|isa| isa.name() == name) {
            Some(isa) => Ok(*isa),
            None => {
                let names: Vec<_> = supported.map(|isa| isa.name()).collect();
                let names = names.join(", ");
                Err(format!(
                    "{VARIABLE} must be one that this CPU supports ({names}), got {name:?}"
                ))
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    /// The widest instruction set that this CPU supports.
    fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let v4 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            return if v4 { Self::Avx512 } else { Self::Avx2 };
        }
        Self::Portable
    }
}

/// Compiles a function for every [`Isa`] and calls the chosen one; see the [module](self) for the rules.
///
/// Arguments are plain names, and lifetimes are elided. A type parameter in angle brackets is bounded
/// by [`Real`](crate::real::Real).
macro_rules! multiversion {
    ($(
        $(#[$meta:meta])*
        $vis:vis fn $name:ident$(<$real:ident>)?($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    )+) => {$(
        $(#[$meta])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "the CPU supports the instructions")
        )]
        $vis fn $name$(<$real: $crate::real::Real>)?($($arg: $type),*) $(-> $output)? {
            #[inline(always)]
            fn body$(<$real: $crate::real::Real>)?($($arg: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2$(<$real: $crate::real::Real>)?($($arg: $type),*) $(-> $output)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512$(<$real: $crate::real::Real>)?($($arg: $type),*) $(-> $output)? {
                body($($arg),*)
            }

            match $crate::simd::Isa::chosen() {
                $crate::simd::Isa::Portable => body($($arg),*),
                // SAFETY: `Isa::chosen` returns only what the CPU supports.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    )+};
}
pub(crate) use multiversion;

#[cfg(test)]
pub(crate) use forced::on_every_isa;

#[cfg(test)]
mod forced {
    use super::Isa;
    use std::cell::Cell;

    thread_local! {
        pub(super) static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
    }

    /// Runs a test with each instruction set that this CPU supports. Other threads do not see the
    /// choice.
    pub(crate) fn on_every_isa(mut test: impl FnMut(Isa)) {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                FORCED.set(None);
            }
        }
        let _reset = Reset;
        for &isa in Isa::ALL.iter().filter(|&&isa| isa <= Isa::widest()) {
            FORCED.set(Some(isa));
            test(isa);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_selects_an_instruction_set_that_the_cpu_supports() {
        for (index, &widest) in Isa::ALL.iter().enumerate() {
            for (other, &isa) in Isa::ALL.iter().enumerate() {
                let narrowed = Isa::narrowed(isa.name(), widest).ok();
                assert_eq!(narrowed, (other <= index).then_some(isa));
            }
        }
        let error = Isa::narrowed("sse2", Isa::Portable).unwrap_err();
        assert_eq!(
            error,
            "S2S_SIMD must be one that this CPU supports (portable), got \"sse2\""
        );
    }
}
