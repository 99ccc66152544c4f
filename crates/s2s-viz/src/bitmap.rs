//! Anti-aliasing and PNG encoding.

/// Pictures are drawn this many times larger in each direction and averaged, because plotters does not
/// anti-alias bitmaps.
pub(crate) const OVERSAMPLING: u32 = 3;
/// Layout pixels per meter: 96 per inch.
const PIXELS_PER_METER: u32 = 3780;

/// Shrinks an RGB image of `width` pixels per row by `OVERSAMPLING` in each direction: each result pixel
/// is the mean of a square.
pub(crate) fn shrink(pixels: &[u8], width: usize) -> Vec<u8> {
    const SIDE: usize = OVERSAMPLING as usize;
    const COUNT: u16 = (SIDE * SIDE) as u16;
    let row = width * 3;
    let bands = pixels.chunks_exact(row * SIDE);
    let mut small = vec![0; bands.len() * (row / SIDE)];
    let mut columns = vec![0_u16; row]; // sums over the lines of a band
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

/// Encodes RGB pixels as PNG, with `density` pixels per layout pixel in its metadata.
pub(crate) fn encode(width: u32, height: u32, density: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::FilterType::Up); // rows resemble the row above
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: PIXELS_PER_METER * density,
        yppu: PIXELS_PER_METER * density,
        unit: png::Unit::Meter,
    }));
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(pixels))
        .expect("writing at least one pixel to a vector does not fail");
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
