//! The instruction sets that kernels are compiled for, one of which is chosen at run time.
//!
//! The compiler vectorizes a loop with what the function around it is allowed to use, and by
//! default that is what every processor of the target has. [`multiversion!`] compiles an ordinary
//! function once for each set and picks at the call:
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
//! * loop over zipped slices, or slice them to one length first: a bounds check in the loop stops
//!   the compiler;
//! * mark everything that the loop calls `#[inline(always)]`: a call that stays a call runs the
//!   portable code;
//! * make each call long. Choosing costs a nanosecond or two, and the function is not inlined:
//!   pass a whole row or batch, with the loop over rows inside.
//!
//! The compiler neither fuses multiplications with additions nor reorders them, so a loop without
//! sums across elements gives the same bits on every set, in the vector body as in the rest. A sum
//! across elements (a dot product) stays scalar unless it is written with an array of partial
//! sums. `f32::mul_add` is one instruction in the wider sets and a call into the C library in the
//! portable one: leave it to [`gemm`](crate::gemm).

/// An instruction set that this program carries kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// What every processor of the target has: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// 256-bit vectors and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors, with the extensions that all processors but the first had (x86-64-v4).
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The set to use: the widest that this processor has.
    #[inline]
    pub(crate) fn chosen() -> Self {
        #[cfg(test)]
        if let Some(isa) = forced::FORCED.get() {
            return isa;
        }
        Self::widest()
    }

    #[inline]
    fn widest() -> Self {
        // The standard library asks the processor once and remembers.
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

/// Compiles a function for every [`Isa`] and calls the chosen one; see the module's notes.
///
/// The arguments are plain names; lifetimes are left to elision. A type in angle brackets is any
/// [`Real`](crate::real::Real).
macro_rules! multiversion {
    ($(
        $(#[$meta:meta])*
        $vis:vis fn $name:ident$(<$real:ident>)?($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    )+) => {$(
        $(#[$meta])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "the processor was asked for the instructions")
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
                // SAFETY: the processor has what it was asked for.
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

    /// Runs a test with each set that this processor has; threads that it spawns use the widest.
    pub(crate) fn on_every_isa(mut test: impl FnMut(Isa)) {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                FORCED.set(None);
            }
        }
        let _reset = Reset;
        for isa in available() {
            FORCED.set(Some(isa));
            test(isa);
        }
    }

    fn available() -> Vec<Isa> {
        #[cfg(target_arch = "x86_64")]
        match Isa::widest() {
            Isa::Avx512 => return vec![Isa::Portable, Isa::Avx2, Isa::Avx512],
            Isa::Avx2 => return vec![Isa::Portable, Isa::Avx2],
            Isa::Portable => {}
        }
        vec![Isa::Portable]
    }
}
