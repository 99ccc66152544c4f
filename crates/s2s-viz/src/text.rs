//! Measuring and drawing text with the embedded font.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale};

/// Font families of an SVG: the embedded font, then similar fonts that most systems have.
pub(crate) const FAMILIES: &str =
    "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif";

/// How much wider SVG text may be if the viewer does not have the embedded font.
pub(crate) const FALLBACK_SLACK: f64 = 1.15;

/// Replacement for characters that the font does not have or that XML forbids.
const BOX: char = '\u{25A1}';

/// Weight of the embedded font.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Face {
    Regular,
    SemiBold,
}

impl Face {
    fn font(self) -> &'static FontRef<'static> {
        static REGULAR: LazyLock<FontRef<'static>> = LazyLock::new(|| {
            FontRef::try_from_slice(include_bytes!("../fonts/Inter-Regular.otf"))
                .expect("the embedded font is valid")
        });
        static SEMI_BOLD: LazyLock<FontRef<'static>> = LazyLock::new(|| {
            FontRef::try_from_slice(include_bytes!("../fonts/Inter-SemiBold.otf"))
                .expect("the embedded font is valid")
        });
        match self {
            Face::Regular => &REGULAR,
            Face::SemiBold => &SEMI_BOLD,
        }
    }

    /// Width of `text` in pixels; `size` is the em in pixels.
    pub(crate) fn width(self, text: &str, size: f64) -> f64 {
        self.layout(text, size).1
    }

    /// Calls `pixel(x, y, coverage)` for each pixel that `text` covers; it starts at x = 0 and its
    /// baseline is y = 0.
    pub(crate) fn rasterize<E>(
        self,
        text: &str,
        size: f64,
        mut pixel: impl FnMut(i32, i32, f32) -> Result<(), E>,
    ) -> Result<(), E> {
        for glyph in self.layout(text, size).0 {
            let Some(outline) = self.font().outline_glyph(glyph) else {
                continue; // a space
            };
            let corner = outline.px_bounds().min;
            let mut covered = Vec::new();
            outline.draw(|x, y, coverage| covered.push((x, y, coverage)));
            for (x, y, coverage) in covered {
                pixel(
                    corner.x as i32 + x as i32,
                    corner.y as i32 + y as i32,
                    coverage,
                )?;
            }
        }
        Ok(())
    }

    /// The positioned glyphs of `text`, and their total width.
    fn layout(self, text: &str, size: f64) -> (Vec<Glyph>, f64) {
        let font = self.font();
        let em = f64::from(
            font.units_per_em()
                .expect("the embedded font has an em size"),
        );
        // ab_glyph scales by the height from descent to ascent, not by the em.
        let scale = PxScale::from((size * f64::from(font.height_unscaled()) / em) as f32);
        let mut x = 0.0;
        let glyphs = text
            .chars()
            .map(|c| {
                let known = font.glyph_id(c);
                let id = if known.0 == 0 {
                    font.glyph_id(BOX)
                } else {
                    known
                };
                let at = ab_glyph::point(x as f32, 0.0);
                x += f64::from(font.h_advance_unscaled(id)) * size / em;
                id.with_scale_and_position(scale, at)
            })
            .collect();
        (glyphs, x)
    }

    /// `text`, truncated with an ellipsis to at most `width` pixels.
    pub(crate) fn ellipsize(self, text: &str, size: f64, width: f64) -> String {
        if self.width(text, size) <= width {
            return text.to_owned();
        }
        let mut start: Vec<char> = text.chars().collect();
        loop {
            start.pop();
            let short: String = start.iter().collect::<String>() + "\u{2026}";
            if start.is_empty() || self.width(&short, size) <= width {
                return short;
            }
        }
    }

    /// `text` wrapped into lines of at most `width` pixels; a wider word is truncated. Empty text has no
    /// lines.
    pub(crate) fn wrap(self, text: &str, size: f64, width: f64) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let word = self.ellipsize(word, size, width);
            if let Some(line) = lines.last_mut() {
                let longer = format!("{line} {word}");
                if self.width(&longer, size) <= width {
                    *line = longer;
                    continue;
                }
            }
            lines.push(word);
        }
        lines
    }
}

/// Text that is safe to show: characters that would control a terminal, or turn the direction of the
/// text around them, become boxes, as do those that XML forbids. The number of characters stays.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{FFFE}' | '\u{FFFF}' => BOX,
            '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => BOX,
            c if c.is_control() => BOX,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_fit_and_contain_every_word() {
        let text = "attention of the sequence in question after many thousand steps";
        for width in [60.0, 100.0, 250.0] {
            let lines = Face::Regular.wrap(text, 12.0, width);
            assert!(
                lines
                    .iter()
                    .all(|line| Face::Regular.width(line, 12.0) <= width)
            );
        }
        let lines = Face::SemiBold.wrap(text, 12.0, 100.0);
        assert_eq!(lines.join(" "), text);
        assert!(Face::Regular.wrap("  ", 12.0, 100.0).is_empty());
    }

    #[test]
    fn an_ellipsis_replaces_what_does_not_fit() {
        assert_eq!(Face::Regular.ellipsize("short", 12.0, 100.0), "short");
        let cut = Face::Regular.ellipsize("a very long token indeed", 12.0, 60.0);
        assert!(
            cut.starts_with("a ve") && cut.ends_with('\u{2026}'),
            "{cut}"
        );
        assert!(Face::Regular.width(&cut, 12.0) <= 60.0);
    }

    #[test]
    fn width_grows_with_the_size_and_the_text() {
        let width = |text, size| Face::Regular.width(text, size);
        assert_eq!(width("", 12.0), 0.0);
        assert!((width("token", 24.0) - 2.0 * width("token", 12.0)).abs() < 1e-9);
        assert!(width("tokens", 12.0) > width("token", 12.0));
    }

    #[test]
    fn characters_missing_from_the_font_are_drawn_as_a_box() {
        assert_eq!(
            Face::Regular.width("\u{6F22}", 12.0),
            Face::Regular.width("\u{25A1}", 12.0)
        );
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(
            clean("a\u{1b}[31m\n\u{FFFF}"),
            "a\u{25A1}[31m\u{25A1}\u{25A1}"
        );
    }
}
