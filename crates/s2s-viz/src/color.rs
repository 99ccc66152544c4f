//! The colors of all pictures. They are distinguishable for color-blind readers and in grayscale.

/// A color: red, green and blue, from 0 to 255 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// Titles and tokens.
pub(crate) const TEXT: Rgb = Rgb(0x1F, 0x24, 0x2B);
/// Subtitles, axis labels and tick labels.
pub(crate) const MUTED: Rgb = Rgb(0x5E, 0x66, 0x70);
/// The horizontal axis.
pub(crate) const AXIS: Rgb = Rgb(0x8A, 0x92, 0x9C);
/// Grid lines.
pub(crate) const GRID: Rgb = Rgb(0xE6, 0xE8, 0xEB);
/// Background of a shaded range.
pub(crate) const SHADE: Rgb = Rgb(0xF1, 0xF2, 0xF4);
/// Masked cells.
pub(crate) const MASKED: Rgb = Rgb(0xCF, 0xD2, 0xD6);
/// The color of wrong tokens: dark orange.
pub const WARNING: Rgb = Rgb(0xC9, 0x3C, 0x00);
/// Background.
pub(crate) const WHITE: Rgb = Rgb(0xFF, 0xFF, 0xFF);

impl Rgb {
    /// The number of the closest color on a terminal with 256 colors: 16 to 231 in the cube of 6 × 6 × 6
    /// colors, 232 to 255 for grays.
    pub fn indexed(self) -> u8 {
        const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
        let Rgb(red, green, blue) = self;
        let level = |value: u8| {
            (0..6)
                .min_by_key(|&i| LEVELS[i].abs_diff(value))
                .unwrap_or(0)
        };
        let [r, g, b] = [red, green, blue].map(level);
        let of_cube = Rgb(LEVELS[r], LEVELS[g], LEVELS[b]);
        let mean = (u32::from(red) + u32::from(green) + u32::from(blue)) / 3;
        let step = (mean.saturating_sub(3) / 10).min(23) as u8; // grays 8, 18, ..., 238
        let gray = Rgb(8 + 10 * step, 8 + 10 * step, 8 + 10 * step);
        match self.distance(gray) < self.distance(of_cube) {
            true => 232 + step,
            false => (16 + 36 * r + 6 * g + b) as u8,
        }
    }

    fn distance(self, other: Rgb) -> u32 {
        let square = |a: u8, b: u8| u32::from(a.abs_diff(b)).pow(2);
        square(self.0, other.0) + square(self.1, other.1) + square(self.2, other.2)
    }

    /// Linear interpolation from this color (`share` = 0) to another (`share` = 1).
    pub(crate) fn mix(self, other: Rgb, share: f64) -> Rgb {
        let channel = |a: u8, b: u8| {
            let mixed = f64::from(a) + (f64::from(b) - f64::from(a)) * share;
            mixed.round() as u8
        };
        Rgb(
            channel(self.0, other.0),
            channel(self.1, other.1),
            channel(self.2, other.2),
        )
    }
}

/// The color of a series. The palette is that of Okabe and Ito without yellow, which is too pale for
/// thin lines on white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hue {
    /// First series; training in the plots of a run.
    #[default]
    Blue,
    /// Second series; validation in the plots of a run.
    Vermilion,
    /// Third series.
    Green,
    /// Fourth series.
    Purple,
    /// Fifth series.
    Orange,
    /// Sixth series.
    Sky,
    /// For a reference that the other series are compared with. [`Look::nth`](crate::Look::nth) does not use
    /// it.
    Gray,
}

impl Hue {
    /// The hues of numbered series.
    pub(crate) const NUMBERED: [Hue; 6] = [
        Hue::Blue,
        Hue::Vermilion,
        Hue::Green,
        Hue::Purple,
        Hue::Orange,
        Hue::Sky,
    ];

    /// The color of its lines.
    pub fn line(self) -> Rgb {
        match self {
            Hue::Blue => Rgb(0x00, 0x72, 0xB2),
            Hue::Vermilion => Rgb(0xD5, 0x5E, 0x00),
            Hue::Green => Rgb(0x00, 0x9E, 0x73),
            Hue::Purple => Rgb(0xCC, 0x79, 0xA7),
            Hue::Orange => Rgb(0xE6, 0x9F, 0x00),
            Hue::Sky => Rgb(0x56, 0xB4, 0xE9),
            Hue::Gray => Rgb(0x7A, 0x80, 0x88),
        }
    }

    /// Paler, for single runs behind their mean.
    pub(crate) fn trace(self) -> Rgb {
        self.line().mix(WHITE, 0.62)
    }

    /// Darker, for legible text.
    pub(crate) fn text(self) -> Rgb {
        self.line().mix(TEXT, 0.25)
    }
}

/// The viridis color of a weight in `[0, 1]`, from dark violet to yellow, interpolated between eleven colors
/// of matplotlib. A weight outside the range has the color of the nearest bound.
pub fn viridis(weight: f64) -> Rgb {
    const STOPS: [Rgb; 11] = [
        Rgb(68, 1, 84),
        Rgb(72, 36, 117),
        Rgb(65, 68, 135),
        Rgb(53, 95, 141),
        Rgb(42, 120, 142),
        Rgb(33, 145, 140),
        Rgb(34, 168, 132),
        Rgb(68, 191, 112),
        Rgb(122, 209, 81),
        Rgb(189, 223, 38),
        Rgb(253, 231, 37),
    ];
    let last = STOPS.len() - 1;
    let position = weight.clamp(0.0, 1.0) * last as f64;
    let below = (position as usize).min(last - 1);
    STOPS[below].mix(STOPS[below + 1], position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(color: Rgb) -> f64 {
        0.2126 * f64::from(color.0) + 0.7152 * f64::from(color.1) + 0.0722 * f64::from(color.2)
    }

    #[test]
    fn a_color_of_the_palette_is_its_own_index() {
        assert_eq!(Rgb(0, 0, 0).indexed(), 16);
        assert_eq!(Rgb(255, 255, 255).indexed(), 231);
        assert_eq!(Rgb(95, 135, 175).indexed(), 67);
        assert_eq!(Rgb(128, 128, 128).indexed(), 244);
        assert_eq!(viridis(1.0).indexed(), 220);
    }

    #[test]
    fn greater_weights_are_brighter() {
        let all: Vec<f64> = (0..=100)
            .map(|i| luminance(viridis(f64::from(i) / 100.0)))
            .collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(viridis(0.0), Rgb(68, 1, 84));
        assert_eq!(viridis(1.0), Rgb(253, 231, 37));
    }
}
