//! The colors of all pictures. They are distinguishable for color-blind readers and in grayscale.

/// Red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rgb(pub(crate) u8, pub(crate) u8, pub(crate) u8);

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
/// Wrong tokens.
pub(crate) const WARNING: Rgb = Rgb(0xC9, 0x3C, 0x00);
/// Background.
pub(crate) const WHITE: Rgb = Rgb(0xFF, 0xFF, 0xFF);

impl Rgb {
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
    /// Training.
    #[default]
    Blue,
    /// Validation.
    Vermilion,
    /// Third series.
    Green,
    /// Fourth series.
    Purple,
    /// Fifth series.
    Orange,
    /// Sixth series.
    Sky,
    /// Only for what the other series are compared with.
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

    pub(crate) fn line(self) -> Rgb {
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

/// The viridis color of a weight in `[0, 1]`, interpolated between eleven colors of matplotlib.
pub(crate) fn viridis(weight: f64) -> Rgb {
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
    fn greater_weights_are_brighter() {
        let all: Vec<f64> = (0..=100)
            .map(|i| luminance(viridis(f64::from(i) / 100.0)))
            .collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(viridis(0.0), Rgb(68, 1, 84));
        assert_eq!(viridis(1.0), Rgb(253, 231, 37));
    }
}
