//! The fonts that text is drawn with: the embedded ones first, then those of the system.
//!
//! Inter has the letters of most labels. The other embedded fonts have what it lacks; they are
//! compressed and are loaded when a text needs them. Fonts of the system are searched last, in the order
//! of their paths, so a text that the embedded fonts cover looks the same on every machine. Without the
//! feature `records`, which reads files, only the embedded fonts are searched.

use std::io::Read;
use std::sync::LazyLock;

use ab_glyph::{Font as _, FontRef, Glyph, OutlinedGlyph, PxScale};
use flate2::read::GzDecoder;
use rustybuzz::{Direction, UnicodeBuffer};

use crate::text::Face;

/// A font that is loaded.
pub(crate) struct Font {
    outlines: FontRef<'static>,
    shaper: rustybuzz::Face<'static>,
}

/// A glyph of a shaped text.
pub(crate) struct Shaped {
    id: u16,
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

    fn embedded(bytes: &'static [u8]) -> Font {
        Font::load(bytes, 0).expect("the embedded fonts are valid")
    }

    fn has(&self, c: char) -> bool {
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

/// The font for characters that belong together; `None` if no font has them all.
pub(crate) fn covering(face: Face, characters: &str) -> Option<&'static Font> {
    let has_all = |font: &&Font| {
        let mut drawn = characters.chars().filter(|c| !is_joiner(*c));
        drawn.all(|c| font.has(c))
    };
    let own = Some(inter(face)).filter(has_all);
    let embedded = own.or_else(|| EMBEDDED.iter().map(|font| &**font).find(has_all));
    #[cfg(feature = "records")]
    return embedded.or_else(|| crate::system_fonts::covering(characters));
    #[cfg(not(feature = "records"))]
    embedded
}

/// Whether a character only changes how its neighbors are drawn. Fonts need no glyph for it.
pub(crate) fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

fn inter(face: Face) -> &'static Font {
    static REGULAR: LazyLock<Font> =
        LazyLock::new(|| Font::embedded(include_bytes!("../fonts/Inter-Regular.otf")));
    static SEMI_BOLD: LazyLock<Font> =
        LazyLock::new(|| Font::embedded(include_bytes!("../fonts/Inter-SemiBold.otf")));
    match face {
        Face::Regular => &REGULAR,
        Face::SemiBold => &SEMI_BOLD,
    }
}

/// The fonts for what Inter lacks, in the order in which they are searched.
static EMBEDDED: [LazyLock<Font>; 4] = [
    LazyLock::new(|| unpack(include_bytes!("../fonts/DejaVuSans.ttf.gz"))),
    LazyLock::new(|| unpack(include_bytes!("../fonts/NotoSansThai.ttf.gz"))),
    LazyLock::new(|| unpack(include_bytes!("../fonts/NotoSansDevanagari.ttf.gz"))),
    LazyLock::new(|| unpack(include_bytes!("../fonts/DroidSansFallback.ttf.gz"))),
];

fn unpack(packed: &[u8]) -> Font {
    let mut bytes = Vec::new();
    GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .expect("the embedded fonts are valid");
    Font::embedded(bytes.leak())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_fonts_cover_the_scripts_they_are_made_for() {
        let has = |c: char| inter(Face::Regular).has(c) || EMBEDDED.iter().any(|font| font.has(c));
        let text = "ɑɪəʃ é ǆ ẵ ὦ Ѫ հայ עברית العربية ქართ ไทย हिन्दी ひらがな カタカナ 한국어 漢字学校語生日本 简体 繁體 ␣ ∅";
        let missing: String = text.chars().filter(|c| !has(*c) && *c != ' ').collect();
        assert_eq!(missing, "");
    }

    #[test]
    fn joined_letters_have_other_glyphs_than_single_ones() {
        let font = covering(Face::Regular, "ب").unwrap();
        let ids = |text| -> Vec<u16> { font.shape(text, false).iter().map(|s| s.id).collect() };
        let joined = ids("بب");
        assert_eq!(joined.len(), 2);
        assert!(!joined.contains(&ids("ب")[0]) && joined[0] != joined[1]);
    }
}
