//! A picture: a list of marks on a canvas.

use plotters::prelude::{BitMapBackend, SVGBackend};

use crate::bitmap::{self, OVERSAMPLING};
use crate::color::Rgb;
use crate::mark::{Mark, TextStyle};
use crate::paint::paint;
use crate::text;

/// Plotters rounds coordinates to whole units; an SVG has this many units per pixel.
const SVG_UNITS: u32 = 10;
/// PNG pixels per layout pixel, for screens with a high pixel density.
const PNG_DENSITY: u32 = 2;
/// The same in pictures for lists, which are small in the layout.
#[cfg(any(test, feature = "records"))]
const LIST_DENSITY: u32 = 3;

/// A drawn picture, which can be written as SVG or PNG.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    width: u32,
    height: u32,
    title: String,
    marks: Vec<Mark>,
}

/// The pixels of a picture, line by line.
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rgb: Vec<u8>,
}

/// An encoded PNG image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Png {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The PNG file.
    pub bytes: Vec<u8>,
}

impl Figure {
    /// An empty picture of `width` × `height` pixels. Screen readers announce `title`.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Figure {
        Figure {
            width: width.ceil().max(1.0) as u32,
            height: height.ceil().max(1.0) as u32,
            title: text::clean(title),
            marks: Vec::new(),
        }
    }

    pub(crate) fn line(&mut self, points: Vec<(f64, f64)>, color: Rgb, width: f64) {
        self.marks.push(Mark::Line {
            points,
            color,
            width,
        });
    }

    pub(crate) fn area(&mut self, points: Vec<(f64, f64)>, color: Rgb, alpha: f64) {
        self.marks.push(Mark::Area {
            points,
            color,
            alpha,
        });
    }

    pub(crate) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), color: Rgb) {
        self.marks.push(Mark::Rect {
            x,
            y,
            width,
            height,
            color,
        });
    }

    pub(crate) fn dot(&mut self, (x, y): (f64, f64), radius: f64, color: Rgb) {
        self.marks.push(Mark::Dot {
            x,
            y,
            radius,
            color,
        });
    }

    /// Writes `text` with its anchor at the point.
    pub(crate) fn text(&mut self, (x, y): (f64, f64), text: &str, style: TextStyle) {
        let text = text::clean(text);
        self.marks.push(Mark::Text { x, y, text, style });
    }

    /// Inserts another picture with its upper left corner at the point.
    pub(crate) fn insert(&mut self, other: Figure, (left, top): (f64, f64)) {
        let marks = other.marks.into_iter();
        self.marks.extend(marks.map(|mark| mark.shifted(left, top)));
    }

    /// Width and height in pixels of the layout. The SVG has this size, [`Figure::png`] twice this size.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The picture as an SVG document. Equal data give equal bytes.
    pub fn svg(&self) -> String {
        let units = (self.width * SVG_UNITS, self.height * SVG_UNITS);
        let mut drawn = String::new();
        let mut backend = SVGBackend::with_string(&mut drawn, units);
        paint(&mut backend, &self.marks, f64::from(SVG_UNITS))
            .expect("writing to a string does not fail");
        drop(backend);

        let (_, body) = drawn
            .split_once(">\n")
            .expect("plotters opens with the svg element");
        let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{}\" height=\"{}\" \
             viewBox=\"0 0 {} {}\" stroke-linejoin=\"round\" stroke-linecap=\"round\" \
             class=\"s2s-viz\">\n\
             <title>{}</title>\n\
             <style>.s2s-viz rect{{shape-rendering:crispEdges}}\
             .s2s-viz text[font-weight]{{font-weight:600}}</style>\n\
             {body}",
            self.width,
            self.height,
            units.0,
            units.1,
            escape(&self.title),
        )
    }

    /// The picture as a PNG of twice the layout size, for screens with a high pixel density.
    pub fn png(&self) -> Png {
        self.png_at(PNG_DENSITY)
    }

    /// The picture as a PNG of three times the layout size, for small pictures such as those of
    /// [`Heatmap::draw_small`](crate::Heatmap::draw_small).
    #[cfg(any(test, feature = "records"))]
    pub(crate) fn list_png(&self) -> Png {
        self.png_at(LIST_DENSITY)
    }

    /// A PNG with `density` pixels per layout pixel.
    fn png_at(&self, density: u32) -> Png {
        let Pixels { width, height, rgb } = self.pixels(density);
        Png {
            width,
            height,
            bytes: bitmap::encode(width, height, density, &rgb),
        }
    }

    /// The picture with `density` pixels per layout pixel.
    pub(crate) fn pixels(&self, density: u32) -> Pixels {
        let (width, height) = (self.width * density, self.height * density);
        let drawn = (width * OVERSAMPLING, height * OVERSAMPLING);
        let mut pixels = vec![0xFF; drawn.0 as usize * drawn.1 as usize * 3];
        let mut backend = BitMapBackend::with_buffer(&mut pixels, drawn);
        paint(&mut backend, &self.marks, f64::from(density * OVERSAMPLING))
            .expect("writing to a buffer does not fail");
        drop(backend);
        Pixels {
            width,
            height,
            rgb: bitmap::shrink(&pixels, drawn.0 as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::TEXT;

    fn decode(png: &Png) -> Vec<u8> {
        let mut reader = png::Decoder::new(png.bytes.as_slice()).read_info().unwrap();
        assert_eq!(
            (reader.info().width, reader.info().height),
            (png.width, png.height)
        );
        let mut pixels = vec![0; reader.output_buffer_size()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    }

    #[test]
    fn a_png_has_twice_the_pixels_of_the_layout() {
        let png = Figure::new(31.0, 17.0, "").png();
        assert_eq!((png.width, png.height), (62, 34));
        assert!(decode(&png).iter().all(|&byte| byte == 0xFF));
        let listed = Figure::new(31.0, 17.0, "").list_png();
        assert_eq!((listed.width, listed.height), (93, 51));
    }

    #[test]
    fn a_rectangle_covers_exactly_its_pixels() {
        let mut figure = Figure::new(6.0, 5.0, "");
        figure.rect((1.0, 2.0), (3.0, 2.0), TEXT);
        let png = figure.png();
        let dark: Vec<usize> = decode(&png)
            .chunks(3)
            .enumerate()
            .filter(|(_, pixel)| *pixel == [TEXT.0, TEXT.1, TEXT.2])
            .map(|(index, _)| index)
            .collect();
        let expected: Vec<usize> = (4..8)
            .flat_map(|y| (2..8).map(move |x| y * 12 + x))
            .collect();
        assert_eq!(dark, expected);
    }

    #[test]
    fn svg_text_is_escaped_and_has_the_requested_size() {
        let mut figure = Figure::new(100.0, 20.0, "a < b & c");
        figure.text((0.0, 15.0), "</s> \u{1b}", TextStyle::new(11.0, TEXT));
        let svg = figure.svg();
        assert!(svg.contains("<title>a &lt; b &amp; c</title>"), "{svg}");
        assert!(svg.contains("&lt;/s&gt; U+001B"), "{svg}");
        assert!(svg.contains("font-size=\"110\""), "{svg}");
    }
}
