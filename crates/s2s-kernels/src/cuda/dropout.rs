//! Dropout masks, drawn on the device.

#![expect(unsafe_code, reason = "passes a struct to kernels")]

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

use super::queue::{Argument, Queue, View, each, launch};

/// The key of a stream of ChaCha8, as `rand_chacha` seeds it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DropoutKey([u32; 8]);

impl DropoutKey {
    /// From a generator's seed.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(seed.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Self(words)
    }
}

// SAFETY: eight integers, as in the kernel's struct.
unsafe impl DeviceRepr for DropoutKey {}

impl Argument for DropoutKey {
    type Passed = Self;
    fn to_kernel(self) -> Self {
        self
    }
}

/// Fills `mask`: 0 where a draw of 16 bits is below `threshold`, else `keep`. The draws are the bytes of the
/// stream, two for each number.
///
/// # Errors
/// If the driver fails.
pub fn fill_dropout_mask(
    queue: &Queue,
    mask: View<'_, f32>,
    key: DropoutKey,
    threshold: u16,
    keep: f32,
) -> Result<()> {
    const DRAWS: usize = 32; // of a block of the stream
    let (grid, n) = (each(mask.len.div_ceil(DRAWS)), mask.len as u64);
    launch!(
        queue,
        DropoutMask,
        grid,
        mask,
        key,
        u32::from(threshold),
        keep,
        n
    )
}
