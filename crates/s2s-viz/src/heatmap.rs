//! The data of a heatmap.

use crate::Error;

/// Tolerance for values outside the range, as a share of it: 32-bit weights do not sum to exactly 1.
const ROUNDING: f32 = 1e-3;

/// A matrix as colors: by default attention weights, with source tokens along the top and output tokens down
/// the side. [`Heatmap::new`] makes a heatmap of any numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// Title of the picture.
    pub title: String,
    /// Subtitle of the picture.
    pub subtitle: String,
    /// What the columns are: `source` by default.
    pub x_label: String,
    /// What the rows are: `output` by default.
    pub y_label: String,
    /// What the values are, above the color bar: `weight` by default.
    pub value_label: String,
    /// Minimum and maximum of the values, which have the first and the last color: 0 and 1 by default.
    pub range: (f32, f32),
    /// The names of the columns, from left to right: source tokens.
    pub columns: Vec<String>,
    /// The rows, from top to bottom: output tokens with their weights.
    pub rows: Vec<HeatmapRow>,
}

impl Default for Heatmap {
    /// No cells, and the labels and the range of attention weights.
    fn default() -> Self {
        Self {
            title: String::new(),
            subtitle: String::new(),
            x_label: "source".to_owned(),
            y_label: "output".to_owned(),
            value_label: "weight".to_owned(),
            range: (0.0, 1.0),
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }
}

/// A row of a heatmap: an output token and its attention weights, or any name and its values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatmapRow {
    /// The token, or the name of the row.
    pub token: String,
    /// Whether the token differs from the reference; wrong tokens are marked.
    pub is_wrong: bool,
    /// A value in the range of the heatmap for each column; `None` is drawn as masked, in gray.
    pub weights: Vec<Option<f32>>,
}

/// Several heatmaps in one picture, with a common color bar. The colors span the ranges of all panels. The
/// bar has the value label of the first panel; axis labels are not drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatmapGrid {
    /// Title of the picture.
    pub title: String,
    /// Subtitle of the picture.
    pub subtitle: String,
    /// The heatmaps, row by row.
    pub panels: Vec<Heatmap>,
    /// Number of panels per row; 0 counts as 1.
    pub panels_per_row: usize,
}

impl Heatmap {
    /// A matrix of any finite numbers, with a name for each column and each row. The colors range from its
    /// minimum to its maximum; the axes have no labels.
    ///
    /// ```
    /// use s2s_viz::Heatmap;
    ///
    /// let distances = [[0.0, 2.5, 7.1], [2.5, 0.0, 5.2]];
    /// let map = Heatmap {
    ///     title: "Distances".into(),
    ///     x_label: "to".into(),
    ///     y_label: "from".into(),
    ///     value_label: "km".into(),
    ///     ..Heatmap::new(&["a", "b", "c"], &["a", "b"], &distances)?
    /// };
    /// assert_eq!(map.range, (0.0, 7.1));
    /// assert!(map.draw()?.svg().contains("km"));
    /// # Ok::<(), s2s_viz::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoWeights`] if the matrix is empty; [`Error::RowCount`] or [`Error::RowLength`] if its shape
    /// is not that of the names; [`Error::OutOfRange`] if a number is not finite.
    pub fn new(
        columns: &[impl ToString],
        rows: &[impl ToString],
        matrix: &[impl AsRef<[f32]>],
    ) -> Result<Self, Error> {
        if matrix.len() != rows.len() {
            return Err(Error::RowCount {
                weights: matrix.len(),
                tokens: rows.len(),
            });
        }
        let values = matrix.iter().flat_map(|row| row.as_ref()).copied();
        let low = values.clone().fold(f32::INFINITY, f32::min);
        let high = values.fold(f32::NEG_INFINITY, f32::max);
        let row = |token: String, values: &[f32]| HeatmapRow {
            token,
            is_wrong: false,
            weights: values.iter().copied().map(Some).collect(),
        };
        let named = rows.iter().map(ToString::to_string).zip(matrix);
        let map = Self {
            x_label: String::new(),
            y_label: String::new(),
            value_label: String::new(),
            range: if low < high {
                (low, high)
            } else {
                (low, low + 1.0)
            },
            columns: columns.iter().map(ToString::to_string).collect(),
            rows: named
                .map(|(token, values)| row(token, values.as_ref()))
                .collect(),
            ..Self::default()
        };
        map.check()?;
        Ok(map)
    }

    /// Checks that every cell has a value in the range or a mask.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let columns = self.columns.len();
        if self.rows.is_empty() || columns == 0 {
            return Err(Error::NoWeights {
                rows: self.rows.len(),
                columns,
            });
        }
        let (low, high) = self.range;
        let slack = ROUNDING * (high - low);
        for (row, HeatmapRow { weights, .. }) in self.rows.iter().enumerate() {
            if weights.len() != columns {
                return Err(Error::RowLength {
                    row,
                    cells: weights.len(),
                    columns,
                });
            }
            for (column, value) in weights.iter().enumerate() {
                if let &Some(value) = value
                    && !(value.is_finite() && (low - slack..=high + slack).contains(&value))
                {
                    return Err(Error::OutOfRange {
                        row,
                        column,
                        value,
                        range: self.range,
                    });
                }
            }
        }
        Ok(())
    }

    /// Where a value lies in a range, from 0 to 1.
    pub(crate) fn share(value: f32, (low, high): (f32, f32)) -> f32 {
        (value - low) / (high - low)
    }

    pub(crate) fn has_masked(&self) -> bool {
        self.rows
            .iter()
            .flat_map(|row| &row.weights)
            .any(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heatmap(weights: Vec<Vec<Option<f32>>>) -> Heatmap {
        let rows = weights
            .into_iter()
            .map(|weights| HeatmapRow {
                weights,
                ..HeatmapRow::default()
            })
            .collect();
        Heatmap {
            columns: vec!["3".into(), "4".into()],
            rows,
            ..Heatmap::default()
        }
    }

    #[test]
    fn every_cell_needs_a_weight_or_a_mask() {
        assert_eq!(
            heatmap(vec![vec![Some(0.5), None], vec![Some(0.0), Some(1.0)]]).check(),
            Ok(())
        );
        assert_eq!(
            heatmap(vec![]).check(),
            Err(Error::NoWeights {
                rows: 0,
                columns: 2
            })
        );
        assert_eq!(
            Heatmap {
                columns: vec![],
                ..heatmap(vec![vec![]])
            }
            .check(),
            Err(Error::NoWeights {
                rows: 1,
                columns: 0
            })
        );
        assert_eq!(
            heatmap(vec![vec![Some(0.5), None], vec![None]]).check(),
            Err(Error::RowLength {
                row: 1,
                cells: 1,
                columns: 2
            })
        );
        assert_eq!(
            heatmap(vec![vec![Some(0.5), Some(1.5)]]).check(),
            Err(Error::OutOfRange {
                row: 0,
                column: 1,
                value: 1.5,
                range: (0.0, 1.0)
            })
        );
        assert!(heatmap(vec![vec![Some(f32::NAN), None]]).check().is_err());
    }

    #[test]
    fn any_finite_numbers_span_their_range() {
        let names = ["a", "b"];
        let new = |matrix: &[Vec<f32>]| Heatmap::new(&names, &names, matrix);
        let map = new(&[vec![-3.0, 2.0], vec![250.0, 0.5]]).unwrap();
        assert_eq!(map.range, (-3.0, 250.0));
        assert_eq!(Heatmap::share(250.0, map.range), 1.0);
        assert!(new(&[vec![4.0, 4.0], vec![4.0, 4.0]]).is_ok());
        let infinite = new(&[vec![0.0, f32::INFINITY], vec![0.0, 0.0]]);
        assert!(matches!(infinite, Err(Error::OutOfRange { column: 1, .. })));
        assert!(new(&[vec![0.0, f32::NAN], vec![0.0, 0.0]]).is_err());
        assert!(new(&[vec![0.0], vec![0.0, 0.0]]).is_err());
        let one_row = new(&[vec![0.0, 0.0]]);
        assert!(matches!(
            one_row,
            Err(Error::RowCount {
                weights: 1,
                tokens: 2
            })
        ));
        let none: [&str; 0] = [];
        let empty = Heatmap::new(&none, &none, &[[0.0; 0]; 0]);
        assert!(matches!(empty, Err(Error::NoWeights { .. })));
    }
}
