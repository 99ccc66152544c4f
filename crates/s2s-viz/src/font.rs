//! A font: the glyphs of a text and their outlines.

use ab_glyph::{Font as _, FontRef, Glyph, OutlinedGlyph, PxScale};
use rustybuzz::{Direction, UnicodeBuffer};

/// A font that is loaded.
pub(crate) struct Font {
    outlines: FontRef<'static>,
    shaper: rustybuzz::Face<'static>,
}

/// A glyph of a shaped text.
pub(crate) struct Shaped {
    pub(crate) id: u16,
    /// Distance from the pen to the glyph, in ems; y grows upward.
    offset: (f64, f64),
    /// Distance from this pen position to the next, in ems.
    pub(crate) advance: f64,
}

impl Font {
    pub(crate) fn load(bytes: &'static [u8], index: u32) -> Option<Font> {
        Some(Font {
            outlines: FontRef::try_from_slice_and_index(bytes, index).ok()?,
            shaper: rustybuzz::Face::from_slice(bytes, index)?,
        })
    }

    pub(crate) fn embedded(bytes: &'static [u8]) -> Font {
        Font::load(bytes, 0).expect("the embedded fonts are valid")
    }

    pub(crate) fn has(&self, c: char) -> bool {
        self.outlines.glyph_id(c).0 != 0
    }

    /// The glyphs of `text` from left to right.
    pub(crate) fn shape(&self, text: &str, is_rightward: bool) -> Vec<Shaped> {
        let mut buffer = UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.set_direction(match is_rightward {
            true => Direction::LeftToRight,
            false => Direction::RightToLeft,
        });
        buffer.guess_segment_properties();
        let shaped = rustybuzz::shape(&self.shaper, &[], buffer);
        let ems = |units: i32| f64::from(units) / f64::from(self.shaper.units_per_em());
        let glyphs = shaped.glyph_infos().iter().zip(shaped.glyph_positions());
        glyphs
            .map(|(info, position)| Shaped {
                id: info.glyph_id as u16, // fonts have at most 65,535 glyphs
                offset: (ems(position.x_offset), ems(position.y_offset)),
                advance: ems(position.x_advance),
            })
            .collect()
    }

    /// The outline of a glyph with the pen at `x` pixels on the baseline; `None` for a space. `size` is
    /// the em in pixels.
    pub(crate) fn outline(&self, shaped: &Shaped, x: f64, size: f64) -> Option<OutlinedGlyph> {
        let em = f64::from(self.shaper.units_per_em());
        // ab_glyph scales by the height from descent to ascent, not by the em.
        let scale = size * f64::from(self.outlines.height_unscaled()) / em;
        let at = (x + shaped.offset.0 * size, -shaped.offset.1 * size);
        self.outlines.outline_glyph(Glyph {
            id: ab_glyph::GlyphId(shaped.id),
            scale: PxScale::from(scale as f32),
            position: ab_glyph::point(at.0 as f32, at.1 as f32),
        })
    }
}

/// Whether a character only changes how its neighbors are drawn. Fonts need no glyph for it.
pub(crate) fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}
