use crate::color::Hue;

/// How several runs of the same thing are summed up behind their mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// A faint line for each run.
    Runs,
    /// A band from the least to the greatest.
    Range,
    /// A band of one sample standard deviation on either side. It may reach below zero, which a
    /// logarithmic axis refuses.
    Deviation,
}

/// One line of a plot, with its name at the end, and what lies behind it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The name written at the end of the line.
    pub label: String,
    /// The color of all of it.
    pub hue: Hue,
    /// The line itself, from left to right: pairs of x and y.
    pub points: Vec<(f64, f64)>,
    /// Faint lines behind it: single runs, or raw values.
    pub traces: Vec<Vec<(f64, f64)>>,
    /// A pale band behind it: x, the lower y and the upper y.
    pub band: Vec<(f64, f64, f64)>,
}

impl Series {
    /// A line alone.
    pub fn new(label: impl Into<String>, hue: Hue, points: Vec<(f64, f64)>) -> Series {
        Series {
            label: label.into(),
            hue,
            points,
            ..Series::default()
        }
    }

    /// The mean of several runs before their spread.
    ///
    /// Mean and band stand only where every run has a point of the same x: over a changing set of
    /// runs, a mean would jump for no reason of the runs'.
    pub fn over_runs(
        label: impl Into<String>,
        hue: Hue,
        runs: &[Vec<(f64, f64)>],
        spread: Spread,
    ) -> Series {
        let mut all: Vec<(f64, f64)> = runs.iter().flatten().copied().collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut series = Series::new(label, hue, Vec::new());
        for group in all
            .chunk_by(|a, b| a.0 == b.0)
            .filter(|group| group.len() == runs.len())
        {
            let x = group[0].0;
            let ys = || group.iter().map(|&(_, y)| y);
            let count = group.len() as f64;
            let mean = ys().sum::<f64>() / count;
            series.points.push((x, mean));
            match spread {
                Spread::Runs => {}
                Spread::Range => {
                    let low = ys().fold(f64::INFINITY, f64::min);
                    let high = ys().fold(f64::NEG_INFINITY, f64::max);
                    series.band.push((x, low, high));
                }
                Spread::Deviation => {
                    let squares: f64 = ys().map(|y| (y - mean).powi(2)).sum();
                    let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
                    series.band.push((x, mean - deviation, mean + deviation));
                }
            }
        }
        if spread == Spread::Runs {
            series.traces = runs.to_vec();
        }
        series
    }

    /// The moving mean of noisy values, over up to `reach` points on either side, before the values
    /// themselves.
    ///
    /// Near the first value, which often is the greatest by far, it reaches equally far to both
    /// sides; near the last it takes the values that there are.
    pub fn smoothed(
        label: impl Into<String>,
        hue: Hue,
        points: Vec<(f64, f64)>,
        reach: usize,
    ) -> Series {
        let mean_around = |(i, &(x, _)): (usize, &(f64, f64))| {
            let reach = reach.min(i);
            let near = &points[i - reach..points.len().min(i + reach + 1)];
            (
                x,
                near.iter().map(|&(_, y)| y).sum::<f64>() / near.len() as f64,
            )
        };
        let means = points.iter().enumerate().map(mean_around).collect();
        Series {
            traces: vec![points],
            ..Series::new(label, hue, means)
        }
    }

    /// Every pair of x and y that is drawn.
    pub(crate) fn coordinates(&self) -> impl Iterator<Item = (f64, f64)> {
        let band = self
            .band
            .iter()
            .flat_map(|&(x, low, high)| [(x, low), (x, high)]);
        let lines = self.points.iter().chain(self.traces.iter().flatten());
        lines.copied().chain(band)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> Vec<Vec<(f64, f64)>> {
        vec![
            vec![(1.0, 2.0), (2.0, 4.0)],
            vec![(1.0, 4.0), (2.0, 8.0), (3.0, 1.0)],
        ]
    }

    #[test]
    fn the_mean_stands_where_every_run_has_a_point() {
        let series = Series::over_runs("loss", Hue::Blue, &runs(), Spread::Runs);
        assert_eq!(series.points, [(1.0, 3.0), (2.0, 6.0)]);
        assert_eq!(series.traces, runs());
        assert!(series.band.is_empty());
    }

    #[test]
    fn bands_reach_over_the_range_or_one_deviation() {
        let band = |spread| Series::over_runs("loss", Hue::Blue, &runs(), spread).band;
        assert_eq!(band(Spread::Range), [(1.0, 2.0, 4.0), (2.0, 4.0, 8.0)]);
        let deviation = 2_f64.sqrt();
        assert_eq!(
            band(Spread::Deviation)[0],
            (1.0, 3.0 - deviation, 3.0 + deviation)
        );
    }

    #[test]
    fn one_run_is_its_own_mean_without_spread() {
        let run = vec![(1.0, 0.5), (2.0, 0.25)];
        let series = Series::over_runs(
            "loss",
            Hue::Blue,
            std::slice::from_ref(&run),
            Spread::Deviation,
        );
        assert_eq!(series.points, run);
        assert_eq!(series.band, [(1.0, 0.5, 0.5), (2.0, 0.25, 0.25)]);
        assert!(
            Series::over_runs("none", Hue::Blue, &[], Spread::Runs)
                .points
                .is_empty()
        );
    }

    #[test]
    fn smoothing_reaches_equally_far_but_at_the_end() {
        let line: Vec<(f64, f64)> = (0..9).map(|i| (f64::from(i), f64::from(3 * i))).collect();
        let smooth = Series::smoothed("line", Hue::Blue, line.clone(), 2);
        assert_eq!(smooth.points[..7], line[..7]);
        assert_eq!(smooth.points[8].1, 21.0); // the mean of 18, 21 and 24
        assert_eq!(smooth.traces, [line]);
    }
}
