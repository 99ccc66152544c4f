//! Pixels: from jagged to smooth, and from smooth to PNG.

/// Each pixel of a PNG is the mean of this many drawn ones, squared: plotters' bitmaps have jagged
/// edges.
pub(crate) const OVERSAMPLING: u32 = 3;
/// Pixels of the layout to a meter: 96 to an inch.
const PIXELS_PER_METER: u32 = 3780;

/// The mean of each square of `OVERSAMPLING` pixels a side of an RGB picture, `width` pixels wide.
pub(crate) fn shrink(pixels: &[u8], width: usize) -> Vec<u8> {
    const SIDE: usize = OVERSAMPLING as usize;
    const COUNT: u16 = (SIDE * SIDE) as u16;
    let row = width * 3;
    let bands = pixels.chunks_exact(row * SIDE);
    let mut small = vec![0; bands.len() * (row / SIDE)];
    let mut columns = vec![0_u16; row]; // sums down the lines of a band
    for (band, small) in bands.zip(small.chunks_exact_mut((row / SIDE).max(1))) {
        columns.fill(0);
        for line in band.chunks_exact(row) {
            for (sum, &byte) in columns.iter_mut().zip(line) {
                *sum += u16::from(byte);
            }
        }
        let (squares, _) = columns.as_chunks::<{ 3 * SIDE }>();
        for (pixel, square) in small.as_chunks_mut::<3>().0.iter_mut().zip(squares) {
            for (color, mean) in pixel.iter_mut().enumerate() {
                let sum: u16 = (0..SIDE).map(|pixel| square[3 * pixel + color]).sum();
                *mean = ((sum + COUNT / 2) / COUNT) as u8;
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
