//! Draws marks on an SVG or a bitmap.

use std::convert::Infallible;

use plotters::prelude::{BitMapBackend, SVGBackend};
use plotters_backend::text_anchor::{HPos, Pos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontFamily, FontStyle, FontTransform,
};

use crate::color::{Rgb, WHITE};
use crate::fonts::Face;
use crate::mark::{Anchor, Direction, Mark, TextStyle};
use crate::text;

/// Distance from the top of a text to its baseline, in ems, as plotters writes it into an SVG.
const ASCENT: f64 = 0.76;

/// Draws marks in order on a white background; `scale` is the number of units per layout pixel.
pub(crate) fn paint<S: Surface>(
    surface: &mut S,
    marks: &[Mark],
    scale: f64,
) -> Result<(), DrawingErrorKind<S::ErrorType>> {
    let unit = |length: f64| (length * scale).round() as i32;
    let at = |x: f64, y: f64| (unit(x), unit(y));
    let all = |points: &[(f64, f64)]| -> Vec<BackendCoord> {
        points.iter().map(|&(x, y)| at(x, y)).collect()
    };
    let (width, height) = surface.get_size();
    let corner = (width as i32, height as i32);
    surface.draw_rect((0, 0), corner, &Brush::solid(WHITE), true)?;
    for mark in marks {
        match mark {
            Mark::Line {
                points,
                color,
                width,
            } => {
                let width = unit(*width).max(1) as u32;
                surface.stroke(
                    &all(points),
                    Brush {
                        width,
                        ..Brush::solid(*color)
                    },
                )?;
            }
            Mark::Area {
                points,
                color,
                alpha,
            } => {
                let brush = Brush {
                    alpha: *alpha,
                    ..Brush::solid(*color)
                };
                surface.fill_polygon(all(points), &brush)?;
            }
            Mark::Rect {
                x,
                y,
                width,
                height,
                color,
            } => {
                let corners = (at(*x, *y), at(x + width, y + height));
                surface.draw_rect(corners.0, corners.1, &Brush::solid(*color), true)?;
            }
            Mark::Dot {
                x,
                y,
                radius,
                color,
            } => {
                let radius = unit(*radius) as u32;
                surface.draw_circle(at(*x, *y), radius, &Brush::solid(*color), true)?;
            }
            Mark::Text { x, y, text, style } => {
                let top = style.size * ASCENT;
                let corner = match style.direction {
                    Direction::Rightward => at(*x, y - top),
                    Direction::Upward => at(x - top, *y),
                };
                let size = style.size * scale;
                surface.draw_text(text, &TextStyle { size, ..*style }, corner)?;
            }
        }
    }
    surface.present()
}

/// A backend that can draw lines with round joints and ends.
pub(crate) trait Surface: DrawingBackend {
    /// Draws a line.
    fn stroke(
        &mut self,
        points: &[BackendCoord],
        brush: Brush,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>>;
}

impl Surface for SVGBackend<'_> {
    fn stroke(
        &mut self,
        points: &[BackendCoord],
        brush: Brush,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.draw_path(points.iter().copied(), &brush)
    }
}

impl Surface for BitMapBackend<'_> {
    /// Draws a rectangle per segment and a disc per point. Plotters draws one polygon around the whole
    /// line, which leaves holes where a noisy line crosses itself.
    fn stroke(
        &mut self,
        points: &[BackendCoord],
        brush: Brush,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        let half = f64::from(brush.width) / 2.0;
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let (dx, dy) = (f64::from(x1 - x0), f64::from(y1 - y0));
            let length = dx.hypot(dy);
            if length == 0.0 {
                continue;
            }
            let normal = (
                (-dy / length * half).round() as i32,
                (dx / length * half).round() as i32,
            );
            let corners = [
                (x0 + normal.0, y0 + normal.1),
                (x1 + normal.0, y1 + normal.1),
                (x1 - normal.0, y1 - normal.1),
                (x0 - normal.0, y0 - normal.1),
            ];
            self.fill_polygon(corners, &brush)?;
        }
        for &point in points {
            self.draw_circle(point, half as u32, &brush, true)?;
        }
        Ok(())
    }
}

/// Color, opacity and line width of a shape.
#[derive(Clone, Copy)]
pub(crate) struct Brush {
    color: Rgb,
    alpha: f64,
    width: u32,
}

impl Brush {
    fn solid(color: Rgb) -> Brush {
        Brush {
            color,
            alpha: 1.0,
            width: 1,
        }
    }
}

impl BackendStyle for Brush {
    fn color(&self) -> BackendColor {
        let Rgb(red, green, blue) = self.color;
        BackendColor {
            alpha: self.alpha,
            rgb: (red, green, blue),
        }
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

impl BackendTextStyle for TextStyle {
    type FontError = Infallible;

    fn color(&self) -> BackendColor {
        Brush::solid(self.color).color()
    }

    /// Only the SVG backend calls this; it divides the result by 1.24.
    fn size(&self) -> f64 {
        let near = self.size * 1.24;
        let exact = [near, near.next_up(), near.next_down()];
        exact
            .into_iter()
            .find(|size| size / 1.24 == self.size)
            .unwrap_or(near)
    }

    fn transform(&self) -> FontTransform {
        match self.direction {
            Direction::Rightward => FontTransform::None,
            Direction::Upward => FontTransform::Rotate270,
        }
    }

    fn style(&self) -> FontStyle {
        match self.face {
            Face::Regular => FontStyle::Normal,
            Face::SemiBold => FontStyle::Bold,
        }
    }

    fn anchor(&self) -> Pos {
        let horizontal = match self.anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        Pos::new(horizontal, VPos::Top)
    }

    fn family(&self) -> FontFamily<'_> {
        FontFamily::Name(text::FAMILIES)
    }

    fn layout_box(&self, text: &str) -> Result<(BackendCoord, BackendCoord), Infallible> {
        let width = self.face.width(text, self.size).round() as i32;
        Ok(((0, 0), (width, self.size as i32)))
    }

    fn draw<E, F: FnMut(i32, i32, BackendColor) -> Result<(), E>>(
        &self,
        text: &str,
        (left, top): BackendCoord,
        mut draw: F,
    ) -> Result<Result<(), E>, Infallible> {
        let baseline = top + (self.size * ASCENT).round() as i32;
        let color = Brush::solid(self.color).color();
        Ok(self.face.rasterize(text, self.size, |x, y, coverage| {
            let alpha = f64::from(coverage);
            draw(left + x, baseline + y, BackendColor { alpha, ..color })
        }))
    }
}
