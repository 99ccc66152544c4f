//! A heatmap that grows token by token, as an animated GIF.

use std::collections::BTreeSet;

use gif::{Encoder, EncodingError, Frame, Repeat};

use crate::{Error, Heatmap};

/// Hundredths of a second per token.
const DELAY: u16 = 50;
/// The same for the whole picture, before the animation repeats.
const LAST_DELAY: u16 = 300;
/// Colors of a frame at most.
const COLORS: usize = 256;

impl Heatmap {
    /// The heatmap as an animated GIF: one row after the other, half a second each, repeated forever. Returns
    /// the bytes of the file. Equal data give equal bytes.
    ///
    /// # Errors
    /// As [`Heatmap::draw`]; [`Error::TooLarge`] if a side of the picture has more than 65,535 pixels.
    pub fn gif(&self) -> Result<Vec<u8>, Error> {
        let n = self.rows.len();
        let first = self.draw_rows(0)?.pixels(1);
        let size = [first.width, first.height].map(u16::try_from);
        let [Ok(width), Ok(height)] = size else {
            return Err(Error::TooLarge {
                width: first.width,
                height: first.height,
            });
        };
        let mut frames = vec![band(&first.rgb, &[], width)];
        let mut before = first.rgb;
        for row in 1..=n {
            let after = self.draw_rows(row)?.pixels(1).rgb;
            frames.push(band(&after, &before, width));
            before = after;
        }
        if let Some(last) = frames.last_mut() {
            last.delay = LAST_DELAY;
        }
        let bytes = encode(&frames, width, height);
        Ok(bytes.expect("writing frames that fit to a vector does not fail"))
    }
}

fn encode(frames: &[Frame<'_>], width: u16, height: u16) -> Result<Vec<u8>, EncodingError> {
    let mut encoder = Encoder::new(Vec::new(), width, height, &[])?;
    encoder.set_repeat(Repeat::Infinite)?;
    for frame in frames {
        encoder.write_frame(frame)?;
    }
    encoder.into_inner()
}

/// The lines of pixels that differ from those before, at least one.
fn band(pixels: &[u8], before: &[u8], width: u16) -> Frame<'static> {
    let line = 3 * usize::from(width);
    let mut before = before.chunks(line);
    let differ: Vec<bool> = pixels
        .chunks(line)
        .map(|new| before.next() != Some(new))
        .collect();
    let top = differ.iter().position(|differs| *differs).unwrap_or(0);
    let bottom = differ.iter().rposition(|differs| *differs).unwrap_or(0) + 1;
    let changed = &pixels[line * top..line * bottom];
    Frame {
        top: top as u16,
        delay: DELAY,
        ..paletted(changed, width, (bottom - top) as u16)
    }
}

/// A frame of these pixels. If they have too many colors, channels are rounded to as few bits as needed.
fn paletted(pixels: &[u8], width: u16, height: u16) -> Frame<'static> {
    let (pixels, _) = pixels.as_chunks::<3>();
    let colors_of = |bits: u32| -> (Vec<[u8; 3]>, Vec<[u8; 3]>) {
        let rounded = pixels
            .iter()
            .map(|pixel| pixel.map(|value| round(value, bits)));
        let rounded: Vec<[u8; 3]> = rounded.collect();
        let colors: BTreeSet<[u8; 3]> = rounded.iter().copied().collect();
        (rounded, colors.into_iter().collect())
    };
    let (rounded, colors) = (0..8)
        .map(colors_of)
        .find(|(_, colors)| colors.len() <= COLORS)
        .expect("channels of 0 and 255 give eight colors");
    let index = |color| {
        colors
            .binary_search(color)
            .expect("a color of these pixels") as u8
    };
    let indices: Vec<u8> = rounded.iter().map(index).collect();
    Frame::from_palette_pixels(width, height, indices, colors.as_flattened(), None)
}

/// The nearest multiple of 2 to the power of `bits`; 255 instead of 256.
fn round(value: u8, bits: u32) -> u8 {
    let rounded = (u32::from(value) + ((1 << bits) >> 1)) >> bits << bits;
    rounded.min(255) as u8
}

#[cfg(test)]
mod tests {
    use gif::{ColorOutput, DecodeOptions};

    use super::*;
    use crate::HeatmapRow;

    #[test]
    fn an_animation_has_a_frame_per_token_and_ends_with_the_whole_picture() {
        let row = |token: &str| HeatmapRow {
            token: token.to_owned(),
            is_wrong: false,
            weights: vec![Some(0.1), Some(0.9)],
        };
        let map = Heatmap {
            title: "Attention".to_owned(),
            columns: vec!["3".to_owned(), "4".to_owned()],
            rows: ["4", "3", "</s>"].map(row).to_vec(),
            ..Heatmap::default()
        };
        let bytes = map.gif().unwrap();
        assert_eq!(bytes, map.gif().unwrap());

        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        let mut decoder = options.read_info(bytes.as_slice()).unwrap();
        let width = usize::from(decoder.width());
        let whole = map.draw().unwrap().pixels(1);
        let mut canvas = vec![0; whole.rgb.len() / 3 * 4];
        let mut n_frames = 0;
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            let first = 4 * width * usize::from(frame.top);
            canvas[first..][..frame.buffer.len()].copy_from_slice(&frame.buffer);
            n_frames += 1;
        }
        assert_eq!(n_frames, 4, "the empty picture and three tokens");
        let shown = canvas.chunks(4).zip(whole.rgb.chunks(3));
        let worst = shown.flat_map(|(a, b)| (0..3).map(move |i| a[i].abs_diff(b[i])));
        assert!(
            worst.max().unwrap() <= 4,
            "multiples of eight differ by four at most"
        );
    }
}
