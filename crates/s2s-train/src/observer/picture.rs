//! Pictures for the TensorBoard log.

use s2s_runlog::AttentionRecord;

/// A PNG with its size.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The file's bytes.
    pub png: Vec<u8>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Draws the attention of a sequence for the TensorBoard log; `None` if it cannot be drawn, or should not be.
pub type Render = fn(&AttentionRecord) -> Option<Picture>;
