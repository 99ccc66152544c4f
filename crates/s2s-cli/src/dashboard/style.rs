//! Colors and styles of the dashboard.

use ratatui::style::{Color, Modifier, Style};
use s2s_viz::{Ink, Rgb, WARNING};

/// A wrong token. It is underlined, since colors may be off.
pub(super) fn wrong_style(ink: Ink) -> Style {
    foreground(WARNING, ink).add_modifier(Modifier::UNDERLINED)
}

/// Text of this color, if the terminal has colors.
pub(super) fn foreground(rgb: Rgb, ink: Ink) -> Style {
    match ink {
        Ink::Ascii | Ink::Plain => Style::new(),
        Ink::Indexed | Ink::Color => Style::new().fg(color(rgb, ink)),
    }
}

/// The nearest color that the terminal has.
pub(super) fn color(rgb: Rgb, ink: Ink) -> Color {
    let Rgb(red, green, blue) = rgb;
    match ink {
        Ink::Color => Color::Rgb(red, green, blue),
        _ => Color::Indexed(rgb.indexed()),
    }
}
