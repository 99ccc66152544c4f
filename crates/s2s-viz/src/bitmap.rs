//! Pixels: from jagged to smooth, and from smooth to PNG.

/// Each pixel of a PNG is the mean of this many drawn ones, squared: plotters' bitmaps have jagged
/// edges.
pub(crate) const OVERSAMPLING: u32 = 3;
/// Pixels of the layout to a meter: 96 to an inch.
const PIXELS_PER_METER: u32 = 3780;

/// The mean of each square of `OVERSAMPLING` pixels a side of an RGB picture, `width` pixels wide.
pub(crate) fn shrink(pixels: &[u8], width: usize) -> Vec<u8> {
    let side = OVERSAMPLING as usize;
    let row = width * 3;
    let mut small = Vec::with_capacity(pixels.len() / (side * side));
    let mut columns = vec![0_u16; row]; // sums down the lines of a band
    let count = (side * side) as u16;
    for band in pixels.chunks_exact(row * side) {
        columns.fill(0);
        for line in band.chunks_exact(row) {
            for (sum, &byte) in columns.iter_mut().zip(line) {
                *sum += u16::from(byte);
            }
        }
        for square in columns.chunks_exact(3 * side) {
            for color in 0..3 {
                let sum: u16 = square[color..].iter().step_by(3).sum();
                small.push(((sum + count / 2) / count) as u8);
            }
        }
    }
    small
}

/// RGB pixels as a PNG, which says that `density` of them make a pixel of the layout.
pub(crate) fn encode(width: u32, height: u32, density: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::FilterType::Up); // rows are like those above them
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: PIXELS_PER_METER * density,
        yppu: PIXELS_PER_METER * density,
        unit: png::Unit::Meter,
    }));
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(pixels))
        .expect("a vector takes a whole picture of at least one pixel");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_takes_the_mean_of_each_square() {
        let mut pixels = vec![0; 6 * 3 * 3];
        pixels[0] = 90; // red of the first pixel
        pixels[(2 * 6 + 5) * 3 + 2] = 180; // blue of the last
        assert_eq!(shrink(&pixels, 6), [10, 0, 0, 0, 0, 20]);
    }
}
