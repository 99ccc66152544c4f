//! Measuring and drawing text.

use ab_glyph::OutlinedGlyph;
use unicode_bidi::{BidiInfo, Level};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use crate::font::{Font, Shaped, is_joiner};
use crate::fonts::{self, Face};

/// Font families of an SVG: the embedded font, then similar fonts that most systems have.
pub(crate) const FAMILIES: &str =
    "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif";

/// How much wider SVG text may be if the viewer does not have the embedded font.
pub(crate) const FALLBACK_SLACK: f64 = 1.15;

/// Consecutive characters in one font and one direction.
struct Run {
    font: &'static Font,
    text: String,
}

/// A glyph and the font that it is from.
struct Placed {
    font: &'static Font,
    shaped: Shaped,
}

impl Face {
    /// Width of `text` in pixels; `size` is the em in pixels.
    pub(crate) fn width(self, text: &str, size: f64) -> f64 {
        let advances = self.layout(text);
        advances
            .iter()
            .map(|placed| placed.shaped.advance * size)
            .sum()
    }

    /// Calls `pixel(x, y, coverage)` for each pixel that `text` covers; it starts at x = 0 and its
    /// baseline is y = 0.
    pub(crate) fn rasterize<E>(
        self,
        text: &str,
        size: f64,
        mut pixel: impl FnMut(i32, i32, f32) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut x = 0.0;
        for Placed { font, shaped } in self.layout(text) {
            if let Some(outline) = font.outline(&shaped, x, size) {
                draw(&outline, &mut pixel)?;
            }
            x += shaped.advance * size;
        }
        Ok(())
    }

    /// The glyphs of `text` from left to right. The code point stands for a character that no font has.
    fn layout(self, text: &str) -> Vec<Placed> {
        let directions = BidiInfo::new(text, Some(Level::ltr())); // as in SVG
        let mut placed = Vec::new();
        for paragraph in &directions.paragraphs {
            let (levels, runs) = directions.visual_runs(paragraph, paragraph.range.clone());
            for run in runs {
                let is_rightward = levels[run.start].is_ltr();
                let mut parts = self.runs(&text[run]);
                if !is_rightward {
                    parts.reverse();
                }
                for Run { font, text } in parts {
                    let glyphs = font.shape(&text, is_rightward).into_iter();
                    placed.extend(glyphs.map(|shaped| Placed { font, shaped }));
                }
            }
        }
        placed
    }

    /// `text` in runs of one font each.
    fn runs(self, text: &str) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut push = |font: &'static Font, text: &str| match runs.last_mut() {
            Some(last) if std::ptr::eq(last.font, font) => last.text.push_str(text),
            _ => runs.push(Run {
                font,
                text: text.to_owned(),
            }),
        };
        for grapheme in text.graphemes(true) {
            if let Some(font) = fonts::covering(self, grapheme) {
                push(font, grapheme);
                continue;
            }
            for c in grapheme.chars().filter(|c| !is_joiner(*c)) {
                let mut single = c.to_string();
                let font = fonts::covering(self, &single).or_else(|| {
                    single = code_point(c);
                    fonts::covering(self, &single)
                });
                push(
                    font.expect("the embedded font has digits and letters"),
                    &single,
                );
            }
        }
        runs
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

    /// `name`, truncated to at most `width` pixels with an ellipsis in its middle, because names often differ at
    /// their end.
    pub(crate) fn abbreviate(self, name: &str, size: f64, width: f64) -> String {
        let chars: Vec<char> = name.chars().collect();
        let short = |n_kept: usize| -> String {
            let n_last = n_kept / 2;
            let (first, last) = (n_kept - n_last, chars.len() - n_last);
            let kept = chars[..first].iter().chain(&['\u{2026}']);
            kept.chain(&chars[last..]).collect()
        };
        if self.width(name, size) <= width {
            return name.to_owned();
        }
        let lengths = (0..chars.len()).rev();
        let mut shorter = lengths.map(short);
        let fits = |short: &String| self.width(short, size) <= width;
        shorter.find(fits).unwrap_or_else(|| short(0))
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

fn draw<E>(
    outline: &OutlinedGlyph,
    mut pixel: impl FnMut(i32, i32, f32) -> Result<(), E>,
) -> Result<(), E> {
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
    Ok(())
}

/// The code point of a character as text: `U+6F22`.
fn code_point(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// Text that is safe to show: characters that would control a terminal, that are invisible, that turn the
/// direction of the text around them, or that XML forbids become their code points (`U+202E`). Spaces and
/// joiners remain.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if is_joiner(c) => cleaned.push(c),
            c if is_hidden(c) => cleaned.push_str(&code_point(c)),
            c => cleaned.push(c),
        }
    }
    cleaned
}

fn is_hidden(c: char) -> bool {
    use GeneralCategory::{Format, LineSeparator, ParagraphSeparator};
    let category = c.general_category();
    c.is_control()
        || matches!(category, Format | LineSeparator | ParagraphSeparator)
        || u32::from(c) & 0xFFFE == 0xFFFE // not a character
}

/// A token with everything in it visible: as [`clean`], with spaces as `␣` or their code point, `∅` for
/// an empty token, and a dotted circle below an accent without a letter.
pub(crate) fn visible(token: &str) -> String {
    if token.chars().all(is_joiner) {
        let codes: String = token.chars().map(code_point).collect();
        return if codes.is_empty() {
            "\u{2205}".to_owned()
        } else {
            codes
        };
    }
    let mut shown = String::with_capacity(token.len());
    let is_mark = |c: char| c.general_category_group() == GeneralCategoryGroup::Mark;
    if token.starts_with(is_mark) {
        shown.push('\u{25CC}');
    }
    for c in clean(token).chars() {
        match c {
            ' ' => shown.push('\u{2423}'),
            c if c.is_whitespace() => shown.push_str(&code_point(c)),
            c => shown.push(c),
        }
    }
    shown
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
    fn an_abbreviated_name_keeps_both_ends() {
        let short = |name, width| Face::Regular.abbreviate(name, 12.0, width);
        assert_eq!(short("short", 100.0), "short");
        let [first, last] = ["location-relative-first", "location-relative-last"];
        assert_eq!(short(first, 84.0), "locatio\u{2026}e-first");
        assert_ne!(short(first, 84.0), short(last, 84.0));
        for width in [0.0, 5.0, 20.0, 84.0] {
            let cut = short(first, width);
            assert!(cut == "\u{2026}" || Face::Regular.width(&cut, 12.0) <= width);
        }
    }

    #[test]
    fn width_grows_with_the_size_and_the_text() {
        let width = |text, size| Face::Regular.width(text, size);
        assert_eq!(width("", 12.0), 0.0);
        assert!((width("token", 24.0) - 2.0 * width("token", 12.0)).abs() < 1e-9);
        assert!(width("tokens", 12.0) > width("token", 12.0));
    }

    #[test]
    fn the_code_point_stands_for_a_character_that_no_font_has() {
        let private = '\u{10FFFD}'; // for private use, so no font has it
        let width = |text: &str| Face::Regular.width(text, 12.0);
        assert_eq!(width(&private.to_string()), width("U+10FFFD"));
        assert_ne!(width("\u{6F22}"), width("U+6F22"));
    }

    #[test]
    fn text_from_right_to_left_is_drawn_in_that_order() {
        let extent = |text: &str| {
            let mut xs = Vec::new();
            Face::Regular
                .rasterize(text, 40.0, |x, _, _| {
                    xs.push(x);
                    Ok::<(), ()>(())
                })
                .unwrap();
            xs
        };
        // The narrow letter is first, so it is at the right end.
        let (narrow, wide) = ('\u{5D5}', '\u{5E9}');
        let (first, both) = (
            extent(&narrow.to_string()),
            extent(&format!("{narrow}{wide}")),
        );
        let wide_only = Face::Regular.width(&wide.to_string(), 40.0);
        let shifted = first.iter().map(|x| f64::from(*x) + wide_only);
        let right = shifted.fold(0.0, f64::max);
        assert!((f64::from(*both.iter().max().unwrap()) - right).abs() <= 1.0);
    }

    #[test]
    fn words_of_both_directions_follow_from_left_to_right() {
        let hebrew = "\u{5E9}\u{5D5}\u{5DD}";
        let pixels = |text: &str| {
            let mut pixels = Vec::new();
            let draw = |x, y, _| {
                pixels.push((x, y));
                Ok::<(), ()>(())
            };
            Face::Regular.rasterize(text, 40.0, draw).unwrap();
            pixels
        };
        let first = pixels(hebrew);
        assert!(!first.is_empty());
        assert!(pixels(&format!("{hebrew}: ab")).starts_with(&first));
    }

    #[test]
    fn nothing_in_a_cleaned_text_is_hidden() {
        for (text, cleaned) in [
            ("a\u{1b}[31m\n", "aU+001B[31mU+000A"),
            ("\u{FFFF}\u{202E}abc", "U+FFFFU+202Eabc"),
            ("a b\u{AD}\u{2028}", "a bU+00ADU+2028"),
            (
                "\u{645}\u{6CC}\u{200C}\u{62E}",
                "\u{645}\u{6CC}\u{200C}\u{62E}",
            ),
        ] {
            assert_eq!(clean(text), cleaned);
        }
    }

    #[test]
    fn every_token_is_visible() {
        for (token, shown) in [
            (" ", "\u{2423}"),
            ("a b", "a\u{2423}b"),
            ("", "\u{2205}"),
            ("\t", "U+0009"),
            ("\u{A0}", "U+00A0"),
            ("\u{3000}", "U+3000"),
            ("\u{200D}", "U+200D"),
            ("\u{301}", "\u{25CC}\u{301}"),
            ("e\u{301}", "e\u{301}"),
        ] {
            assert_eq!(visible(token), shown);
        }
    }
}
