//! The fonts of the system, for characters that the embedded ones lack.

use std::collections::VecDeque;
use std::env;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustybuzz::ttf_parser;
use s2s_runlog::{list_folder, read_input};

use crate::font::{Font, is_joiner};

/// Larger font files are not read.
const MAX_BYTES: u64 = 64 << 20;
/// Depth to which font folders are searched.
const MAX_DEPTH: usize = 5;

/// The first font of the system that has all characters.
pub(crate) fn covering(characters: &str) -> Option<&'static Font> {
    System::lock().covering(characters)
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
