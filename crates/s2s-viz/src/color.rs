//! The colors of all pictures. They can be told apart by color-blind readers and on gray paper.

/// Red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rgb(pub(crate) u8, pub(crate) u8, pub(crate) u8);

/// Titles and tokens.
pub(crate) const INK: Rgb = Rgb(0x1F, 0x24, 0x2B);
/// Subtitles, names of axes and numbers along them.
pub(crate) const MUTED: Rgb = Rgb(0x5E, 0x66, 0x70);
/// The line that a plot stands on.
pub(crate) const AXIS: Rgb = Rgb(0x8A, 0x92, 0x9C);
/// The lines behind a plot.
pub(crate) const GRID: Rgb = Rgb(0xE6, 0xE8, 0xEB);
/// The ground of a range that is set apart.
pub(crate) const SHADE: Rgb = Rgb(0xF1, 0xF2, 0xF4);
/// Cells without a weight.
pub(crate) const MASKED: Rgb = Rgb(0xCF, 0xD2, 0xD6);
/// Tokens that are wrong.
pub(crate) const WARNING: Rgb = Rgb(0xC9, 0x3C, 0x00);
/// Paper.
pub(crate) const WHITE: Rgb = Rgb(0xFF, 0xFF, 0xFF);

impl Rgb {
    /// This color with a share of another, 0 for none of it, 1 for nothing else.
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

/// The color of a series, from the palette of Okabe and Ito without its yellow, which is too pale
/// for thin lines on white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hue {
    /// Training, where training and validation meet.
    #[default]
    Blue,
    /// Validation.
    Vermilion,
    /// A third series.
    Green,
    /// A fourth.
    Purple,
    /// A fifth.
    Orange,
    /// A sixth.
    Sky,
    /// What others are compared with.
    Gray,
}

impl Hue {
    /// A hue for series number `index`; after seven they start again.
    pub fn nth(index: usize) -> Hue {
        const ALL: [Hue; 7] = [
            Hue::Blue,
            Hue::Vermilion,
            Hue::Green,
            Hue::Purple,
            Hue::Orange,
            Hue::Sky,
            Hue::Gray,
        ];
        ALL[index % ALL.len()]
    }

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

    /// Paler, for single runs under their mean.
    pub(crate) fn trace(self) -> Rgb {
        self.line().mix(WHITE, 0.62)
    }

    /// Darker, so that words in it are legible.
    pub(crate) fn text(self) -> Rgb {
        self.line().mix(INK, 0.25)
    }
}

/// The viridis color of a weight in `[0, 1]`, interpolated between eleven colors of matplotlib's.
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
    let place = weight.clamp(0.0, 1.0) * last as f64;
    let below = (place as usize).min(last - 1);
    STOPS[below].mix(STOPS[below + 1], place - below as f64)
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

    #[test]
    fn hues_come_round_after_seven() {
        assert_eq!(Hue::nth(1), Hue::nth(8));
        assert_ne!(Hue::nth(0), Hue::nth(6));
    }
}
