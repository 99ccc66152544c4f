//! The shapes that a picture is made of.

use crate::color::Rgb;
use crate::fonts::Face;

/// A shape in pixels of the layout; y grows downward.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mark {
    Line {
        points: Vec<(f64, f64)>,
        color: Rgb,
        width: f64,
    },
    Area {
        points: Vec<(f64, f64)>,
        color: Rgb,
        alpha: f64,
    },
    Rect {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        color: Rgb,
    },
    Dot {
        x: f64,
        y: f64,
        radius: f64,
        color: Rgb,
    },
    Text {
        x: f64,
        y: f64,
        text: String,
        style: TextStyle,
    },
}

impl Mark {
    /// The mark moved right and down.
    pub(crate) fn shifted(mut self, right: f64, down: f64) -> Mark {
        match &mut self {
            Mark::Line { points, .. } | Mark::Area { points, .. } => {
                for point in points {
                    *point = (point.0 + right, point.1 + down);
                }
            }
            Mark::Rect { x, y, .. } | Mark::Dot { x, y, .. } | Mark::Text { x, y, .. } => {
                (*x, *y) = (*x + right, *y + down);
            }
        }
        self
    }
}

/// Appearance and alignment of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TextStyle {
    /// Font size: the em in pixels.
    pub(crate) size: f64,
    pub(crate) face: Face,
    pub(crate) color: Rgb,
    pub(crate) anchor: Anchor,
    pub(crate) direction: Direction,
}

/// Which point of the baseline a text's position refers to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Direction {
    Rightward,
    Upward,
}

impl TextStyle {
    pub(crate) const fn new(size: f64, color: Rgb) -> TextStyle {
        TextStyle {
            size,
            face: Face::Regular,
            color,
            anchor: Anchor::Start,
            direction: Direction::Rightward,
        }
    }

    pub(crate) const fn semi_bold(self) -> TextStyle {
        TextStyle {
            face: Face::SemiBold,
            ..self
        }
    }

    pub(crate) fn anchored(self, anchor: Anchor) -> TextStyle {
        TextStyle { anchor, ..self }
    }

    pub(crate) fn upward(self) -> TextStyle {
        TextStyle {
            direction: Direction::Upward,
            ..self
        }
    }

    pub(crate) fn width(&self, text: &str) -> f64 {
        self.face.width(text, self.size)
    }
}
