//! Title and subtitle in the upper left corner of a picture.

use crate::color::{MUTED, TEXT};
use crate::figure::Figure;
use crate::fonts::Face;
use crate::mark::TextStyle;
use crate::text::FALLBACK_SLACK;

/// Distance between baselines, in ems.
const LEADING: f64 = 1.35;
/// Font size of the title of a panel in a grid.
const SMALL_TITLE: f64 = 12.5;
/// Pixels between title and subtitle.
const GAP: f64 = 4.0;

/// A title and a subtitle, wrapped into lines.
pub(crate) struct Header {
    lines: Vec<(String, TextStyle)>,
}

impl Header {
    pub(crate) fn wrap(title: &str, subtitle: &str, width: f64) -> Header {
        let title_style = TextStyle::new(17.0, TEXT).semi_bold();
        let subtitle_style = TextStyle::new(12.5, MUTED);
        Header::styled((title, title_style), (subtitle, subtitle_style), width)
    }

    /// The header of a panel in a grid.
    pub(crate) fn wrap_small(title: &str, subtitle: &str, width: f64) -> Header {
        let title_style = TextStyle::new(SMALL_TITLE, TEXT).semi_bold();
        let subtitle_style = TextStyle::new(11.0, MUTED);
        Header::styled((title, title_style), (subtitle, subtitle_style), width)
    }

    /// The header of a heatmap in a grid: a title of one line, shortened.
    pub(crate) fn of_panel(title: &str, subtitle: &str, width: f64) -> Header {
        let line = Face::SemiBold.ellipsize(title, SMALL_TITLE, width / FALLBACK_SLACK);
        let lines = Header::wrap_small("", subtitle, width).lines;
        let title_style = TextStyle::new(SMALL_TITLE, TEXT).semi_bold();
        let title = Some((line, title_style)).filter(|(line, _)| !line.is_empty());
        Header {
            lines: title.into_iter().chain(lines).collect(),
        }
    }

    fn styled(title: (&str, TextStyle), subtitle: (&str, TextStyle), width: f64) -> Header {
        let lines = |(text, style): (&str, TextStyle)| {
            let lines = style.face.wrap(text, style.size, width / FALLBACK_SLACK);
            lines.into_iter().map(move |line| (line, style))
        };
        Header {
            lines: lines(title).chain(lines(subtitle)).collect(),
        }
    }

    pub(crate) fn height(&self) -> f64 {
        self.baselines().last().map_or(0.0, |y| y + GAP)
    }

    pub(crate) fn draw(&self, figure: &mut Figure, left: f64, top: f64) {
        for ((line, style), y) in self.lines.iter().zip(self.baselines()) {
            figure.text((left, top + y), line, *style);
        }
    }

    /// Distance of each baseline from the top, in pixels.
    fn baselines(&self) -> impl Iterator<Item = f64> {
        self.lines
            .iter()
            .scan((0.0, None), |(y, above), (_, style)| {
                *y += match above.replace(style.size) {
                    None => style.size,
                    Some(size) if size == style.size => style.size * LEADING,
                    Some(_) => style.size * LEADING + GAP,
                };
                Some(*y)
            })
    }
}
