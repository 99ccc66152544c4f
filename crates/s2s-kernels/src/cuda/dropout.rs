//! Dropout masks, drawn on the device.

use candle_core::Result;

use super::queue::{Queue, View, each, launch};

/// Fills `mask`: 0 where a draw of 16 bits is below `threshold`, else `keep`. The draws are the bytes of the
/// stream of ChaCha8 with the key `key [8]`, two for each number.
///
/// # Errors
/// If the driver fails.
pub fn fill_dropout_mask(
    queue: &Queue,
    mask: View<'_, f32>,
    key: View<'_, u32>,
    threshold: u16,
    keep: f32,
) -> Result<()> {
    const DRAWS: usize = 32; // of a block of the stream
    assert_eq!(key.len, 8, "words of a key");
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
