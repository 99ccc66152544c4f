use crate::look::Look;

/// How the spread of several runs is shown behind their mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// A pale line per run.
    Runs,
    /// A band from minimum to maximum.
    Range,
}

/// A labeled line of a plot, with pale lines and a band behind it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The label at the end of the line.
    pub label: String,
    /// Color, dashes and markers of the line. Traces and band have its color.
    pub look: Look,
    /// The line, from left to right: (x, y).
    pub points: Vec<(f64, f64)>,
    /// Pale lines behind it: single runs.
    pub traces: Vec<Vec<(f64, f64)>>,
    /// A pale band behind it: (x, lower y, upper y).
    pub band: Vec<(f64, f64, f64)>,
}

impl Series {
    /// A line without traces or band. `look` is a [`Look`] or a [`Hue`](crate::Hue).
    pub fn new(label: impl Into<String>, look: impl Into<Look>, points: Vec<(f64, f64)>) -> Series {
        Series {
            label: label.into(),
            look: look.into(),
            points,
            ..Series::default()
        }
    }

    /// The mean of several runs, with their spread behind it. `runs` has the points (x, y) of each run.
    ///
    /// Mean and band include only values of x at which every run has a point; otherwise the mean would
    /// jump where a run ends.
    pub fn over_runs(
        label: impl Into<String>,
        look: impl Into<Look>,
        runs: &[Vec<(f64, f64)>],
        spread: Spread,
    ) -> Series {
        let mut all: Vec<(f64, f64)> = runs.iter().flatten().copied().collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut series = Series::new(label, look, Vec::new());
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
            }
        }
        if spread == Spread::Runs {
            series.traces = runs.to_vec();
        }
        series
    }

    /// Every (x, y) of line, traces and band.
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
    use crate::Hue;

    fn runs() -> Vec<Vec<(f64, f64)>> {
        vec![
            vec![(1.0, 2.0), (2.0, 4.0)],
            vec![(1.0, 4.0), (2.0, 8.0), (3.0, 1.0)],
        ]
    }

    #[test]
    fn the_mean_covers_points_of_every_run() {
        let series = Series::over_runs("loss", Hue::Blue, &runs(), Spread::Runs);
        assert_eq!(series.points, [(1.0, 3.0), (2.0, 6.0)]);
        assert_eq!(series.traces, runs());
        assert!(series.band.is_empty());
    }

    #[test]
    fn bands_range_from_minimum_to_maximum() {
        let series = Series::over_runs("loss", Hue::Blue, &runs(), Spread::Range);
        assert_eq!(series.band, [(1.0, 2.0, 4.0), (2.0, 4.0, 8.0)]);
    }

    #[test]
    fn one_run_is_its_own_mean() {
        let run = vec![(1.0, 0.5), (2.0, 0.25)];
        let series =
            Series::over_runs("loss", Hue::Blue, std::slice::from_ref(&run), Spread::Range);
        assert_eq!(series.points, run);
        assert_eq!(series.band, [(1.0, 0.5, 0.5), (2.0, 0.25, 0.25)]);
        assert!(
            Series::over_runs("none", Hue::Blue, &[], Spread::Runs)
                .points
                .is_empty()
        );
    }
}
