//! How the line of a series looks: hue, dashes and markers.

use crate::color::{Hue, Rgb};
use crate::figure::Figure;

/// Hue and stroke of a line. Use [`Look::nth`] for lines that must differ from each other, or a [`Hue`] for a
/// solid line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The color.
    pub hue: Hue,
    /// Dashes and markers.
    pub stroke: Stroke,
}

/// The dashes of a line and the markers at its points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stroke {
    /// Solid with circles.
    #[default]
    Solid,
    /// Dashes with squares.
    Dashed,
    /// Dots with triangles.
    Dotted,
    /// Dashes and dots with diamonds.
    DashDotted,
}

impl Look {
    /// The look of series number `index`, from 0: each of six hues with a solid line, then each with dashes,
    /// and so on. Repeats after 24.
    pub fn nth(index: usize) -> Look {
        let hues = Hue::NUMBERED;
        Look {
            hue: hues[index % hues.len()],
            stroke: Stroke::ALL[index / hues.len() % Stroke::ALL.len()],
        }
    }
}

impl From<Hue> for Look {
    /// A solid line.
    fn from(hue: Hue) -> Look {
        Look {
            hue,
            stroke: Stroke::Solid,
        }
    }
}

impl Stroke {
    pub(crate) const ALL: [Stroke; 4] = [
        Stroke::Solid,
        Stroke::Dashed,
        Stroke::Dotted,
        Stroke::DashDotted,
    ];

    /// Lengths of dash, gap, dash, gap, ... in pixels; empty for a solid line.
    fn pattern(self) -> &'static [f64] {
        match self {
            Stroke::Solid => &[],
            Stroke::Dashed => &[7.0, 5.0],
            Stroke::Dotted => &[1.5, 4.5],
            Stroke::DashDotted => &[9.0, 4.0, 1.5, 4.0],
        }
    }

    /// The pieces of a line that are drawn.
    pub(crate) fn pieces(self, line: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
        let pattern = self.pattern();
        if pattern.is_empty() {
            return vec![line.to_vec()];
        }
        let mut pieces = Vec::new();
        let mut piece: Vec<(f64, f64)> = line.first().copied().into_iter().collect();
        let (mut phase, mut rest) = (0, pattern[0]);
        for ends in line.windows(2) {
            let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
            let length = (x1 - x0).hypot(y1 - y0);
            let mut done = 0.0;
            while length - done > rest {
                done += rest;
                let share = done / length;
                let at = (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share);
                piece.push(at);
                if phase % 2 == 0 {
                    pieces.push(std::mem::take(&mut piece));
                }
                piece = vec![at];
                phase = (phase + 1) % pattern.len();
                rest = pattern[phase];
            }
            rest -= length - done;
            piece.push((x1, y1));
        }
        if phase % 2 == 0 {
            pieces.push(piece);
        }
        pieces
    }

    /// Draws the marker at a point; `radius` is that of the circle with about the same area.
    pub(crate) fn mark(self, figure: &mut Figure, (x, y): (f64, f64), radius: f64, color: Rgb) {
        match self {
            Stroke::Solid => figure.dot((x, y), radius, color),
            Stroke::Dashed => {
                let half = radius * 0.9;
                figure.rect((x - half, y - half), (2.0 * half, 2.0 * half), color);
            }
            Stroke::Dotted => {
                let (half, up, down) = (radius * 1.3, radius * 1.4, radius * 0.9);
                let corners = vec![(x - half, y + down), (x, y - up), (x + half, y + down)];
                figure.area(corners, color, 1.0);
            }
            Stroke::DashDotted => {
                let half = radius * 1.35;
                let corners = vec![(x - half, y), (x, y - half), (x + half, y), (x, y + half)];
                figure.area(corners, color, 1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_24_looks_differ_and_none_is_gray() {
        let looks: Vec<Look> = (0..24).map(Look::nth).collect();
        for (i, look) in looks.iter().enumerate() {
            assert!(!looks[..i].contains(look), "{i}");
            assert_ne!(look.hue, Hue::Gray);
        }
        assert_eq!(Look::nth(24), looks[0]);
    }

    #[test]
    fn dashes_follow_the_line_around_corners() {
        let line = [(0.0, 0.0), (10.0, 0.0), (10.0, 20.0)];
        assert_eq!(Stroke::Solid.pieces(&line), [line]);
        assert_eq!(
            Stroke::Dashed.pieces(&line),
            [
                vec![(0.0, 0.0), (7.0, 0.0)],
                vec![(10.0, 2.0), (10.0, 9.0)],
                vec![(10.0, 14.0), (10.0, 20.0)],
            ]
        );
        let short: Vec<(f64, f64)> = (0..200).map(|i| (f64::from(i) * 0.5, 0.0)).collect();
        let drawn: f64 = Stroke::Dashed
            .pieces(&short)
            .iter()
            .map(|piece| piece[piece.len() - 1].0 - piece[0].0)
            .sum();
        assert!((drawn - 99.5 * 7.0 / 12.0).abs() < 5.0, "{drawn}");
    }
}
