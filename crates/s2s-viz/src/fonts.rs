//! The fonts that text is drawn with: the embedded ones first, then those of the system.
//!
//! Inter has the letters of most labels. The other embedded fonts have what it lacks; they are
//! compressed and are loaded when a text needs them. Fonts of the system are searched last, in the order
//! of their paths, so a text that the embedded fonts cover looks the same on every machine.

use std::collections::VecDeque;
use std::env;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use ab_glyph::{Font as _, FontRef, Glyph, OutlinedGlyph, PxScale};
use flate2::read::GzDecoder;
use rustybuzz::{Direction, UnicodeBuffer, ttf_parser};
use s2s_runlog::{list_folder, read_input};

use crate::text::Face;

/// Larger font files of the system are not read.
const MAX_BYTES: u64 = 64 << 20;
/// Depth to which the system's font folders are searched.
const MAX_DEPTH: usize = 5;

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
    fn load(bytes: &'static [u8], index: u32) -> Option<Font> {
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
    own.or_else(|| EMBEDDED.iter().map(|font| &**font).find(has_all))
        .or_else(|| System::lock().covering(characters))
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

/// The fonts of the system.
struct System {
    /// Files that are not read yet, in the order in which they are searched.
    unread: VecDeque<PathBuf>,
    known: Vec<Known>,
}

/// A font of the system that was read.
struct Known {
    path: PathBuf,
    index: u32,
    /// The code points that it has, in ascending order.
    covered: Vec<Range<u32>>,
    font: Option<&'static Font>,
}

impl System {
    fn lock() -> impl std::ops::DerefMut<Target = System> {
        static SYSTEM: LazyLock<Mutex<System>> = LazyLock::new(|| {
            Mutex::new(System {
                unread: font_files(),
                known: Vec::new(),
            })
        });
        SYSTEM.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first font that has all characters. Reads files until one has them.
    fn covering(&mut self, characters: &str) -> Option<&'static Font> {
        let mut searched = 0;
        loop {
            let found = self.known[searched..]
                .iter_mut()
                .filter(|font| font.has_all(characters))
                .find_map(Known::load);
            if found.is_some() {
                return found;
            }
            searched = self.known.len();
            let path = self.unread.pop_front()?;
            self.known.extend(Known::of_file(&path));
        }
    }
}

impl Known {
    /// The fonts of a file that have outlines.
    fn of_file(path: &Path) -> Vec<Known> {
        let Ok(bytes) = read_input(path, MAX_BYTES) else {
            return Vec::new();
        };
        let count = ttf_parser::fonts_in_collection(&bytes).unwrap_or(1);
        let font = |index| {
            let face = ttf_parser::Face::parse(&bytes, index).ok()?;
            let tables = face.tables();
            if tables.glyf.is_none() && tables.cff.is_none() {
                return None; // bitmaps, such as colored emoji
            }
            Some(Known {
                path: path.to_owned(),
                index,
                covered: covered(tables.cmap?),
                font: None,
            })
        };
        (0..count).filter_map(font).collect()
    }

    fn has_all(&self, characters: &str) -> bool {
        let has = |c: char| {
            let code = u32::from(c);
            let after = self.covered.partition_point(|range| range.start <= code);
            after > 0 && self.covered[after - 1].contains(&code)
        };
        characters.chars().all(|c| is_joiner(c) || has(c))
    }

    fn load(&mut self) -> Option<&'static Font> {
        if self.font.is_none() {
            let bytes = read_input(&self.path, MAX_BYTES).ok()?.leak();
            let font = Font::load(bytes, self.index)?;
            self.font = Some(Box::leak(Box::new(font)));
        }
        self.font
    }
}

/// The code points with a glyph.
fn covered(cmap: ttf_parser::cmap::Table<'_>) -> Vec<Range<u32>> {
    let mut codes = Vec::new();
    for table in cmap
        .subtables
        .into_iter()
        .filter(|table| table.is_unicode())
    {
        table.codepoints(|code| {
            if table.glyph_index(code).is_some_and(|glyph| glyph.0 != 0) {
                codes.push(code);
            }
        });
    }
    codes.sort_unstable();
    codes.dedup();
    let runs = codes.chunk_by(|a, b| a + 1 == *b);
    runs.map(|run| run[0]..run[run.len() - 1] + 1).collect()
}

/// The font files of the system, sorted in each folder.
fn font_files() -> VecDeque<PathBuf> {
    let home = env::home_dir().unwrap_or_default();
    let mut files = VecDeque::new();
    for folder in [
        PathBuf::from("/usr/share/fonts"),
        PathBuf::from("/usr/local/share/fonts"),
        PathBuf::from("/System/Library/Fonts"),
        PathBuf::from("/Library/Fonts"),
        PathBuf::from("C:\\Windows\\Fonts"),
        home.join(".local/share/fonts"),
        home.join(".fonts"),
        home.join("Library/Fonts"),
    ] {
        find_fonts(&folder, MAX_DEPTH, &mut files);
    }
    files
}

fn find_fonts(folder: &Path, depth: usize, files: &mut VecDeque<PathBuf>) {
    for name in list_folder(folder).unwrap_or_default() {
        let path = folder.join(name);
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        match ending.as_ref().and_then(|ending| ending.to_str()) {
            Some("ttf" | "otf" | "ttc" | "otc") => files.push_back(path),
            Some(_) => {}
            None if depth > 0 => find_fonts(&path, depth - 1, files),
            None => {}
        }
    }
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

    #[test]
    fn a_font_of_the_system_is_read_only_for_what_the_embedded_ones_lack() {
        let file = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fonts/Inter-Regular.otf"
        ));
        let mut system = System {
            unread: VecDeque::from([PathBuf::from("/nonexistent.ttf"), file]),
            known: Vec::new(),
        };
        assert!(system.covering("a").is_some());
        assert!(system.covering("z").is_some());
        assert_eq!(system.known.len(), 1);
        assert!(system.covering("漢").is_none());
    }

    #[test]
    fn coverage_is_the_set_of_code_points() {
        let inter = include_bytes!("../fonts/Inter-Regular.otf");
        let face = ttf_parser::Face::parse(inter, 0).unwrap();
        let covered = covered(face.tables().cmap.unwrap());
        for code in 0..0x3000 {
            let Some(c) = char::from_u32(code) else {
                continue;
            };
            let listed = covered.iter().any(|range| range.contains(&code));
            assert_eq!(
                listed,
                face.glyph_index(c).is_some_and(|id| id.0 != 0),
                "U+{code:X}"
            );
        }
    }
}
