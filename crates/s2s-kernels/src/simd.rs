//! The instruction sets that a kernel is compiled for, one of which is chosen at run time.

/// An instruction set that this program carries kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// What the compiler may use everywhere on the target: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// 256-bit vectors and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The widest set that this processor has.
    #[inline]
    pub(crate) fn best() -> Self {
        // The standard library asks the processor once and remembers.
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// The set to use: the widest.
    #[inline]
    pub(crate) fn chosen() -> Self {
        Self::best()
    }

    /// Every set that this processor has, for tests that hold each to the same law.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        match Self::best() {
            Self::Avx512 => return vec![Self::Portable, Self::Avx2, Self::Avx512],
            Self::Avx2 => return vec![Self::Portable, Self::Avx2],
            Self::Portable => {}
        }
        vec![Self::Portable]
    }
}

/// Compiles a function for every [`Isa`] and calls the chosen one; see the module's notes.
///
/// The arguments are plain names; lifetimes are left to elision.
macro_rules! multiversion {
    ($(
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    )+) => {$(
        $(#[$meta])*
        #[expect(unsafe_code, reason = "the processor was asked for the instructions")]
        $vis fn $name($($arg: $type),*) $(-> $output)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $output)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $type),*) $(-> $output)? {
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
