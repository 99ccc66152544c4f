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
