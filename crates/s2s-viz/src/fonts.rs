//! The fonts that text is drawn with: the embedded ones first, then those of the system.
//!
//! Inter has the letters of most labels. The other embedded fonts have what it lacks; they are
//! compressed and are loaded when a text needs them. Fonts of the system are searched last, in the order
//! of their paths, so a text that the embedded fonts cover looks the same on every machine. Without the
//! feature `records`, which reads files, only the embedded fonts are searched.

use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

use crate::font::{Font, is_joiner};

/// Weight of the font.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Face {
    Regular,
    SemiBold,
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
