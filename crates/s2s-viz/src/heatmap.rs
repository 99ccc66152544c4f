//! The data of an attention heatmap.

use crate::Error;

/// Tolerance for weights outside `[0, 1]`: 32-bit weights do not sum to exactly 1.
const ROUNDING: f32 = 1e-3;

/// Attention weights: source tokens along the top, output tokens down the side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heatmap {
    /// Title of the picture.
    pub title: String,
    /// Subtitle of the picture.
    pub subtitle: String,
    /// The source tokens.
    pub columns: Vec<String>,
    /// The output tokens from first to last.
    pub rows: Vec<HeatmapRow>,
}

/// An output token and its attention weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatmapRow {
    /// The token.
    pub token: String,
    /// Whether the token differs from the reference; wrong tokens are marked.
    pub is_wrong: bool,
    /// `[S]`: a weight in `[0, 1]` per source token; `None` is drawn as masked.
    pub weights: Vec<Option<f32>>,
}

/// Several heatmaps in one picture, with a common color bar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatmapGrid {
    /// Title of the picture.
    pub title: String,
    /// Subtitle of the picture.
    pub subtitle: String,
    /// The heatmaps, row by row.
    pub panels: Vec<Heatmap>,
    /// Number of panels per row.
    pub panels_per_row: usize,
}

impl Heatmap {
    /// Checks that every cell has a weight in `[0, 1]` or a mask.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let columns = self.columns.len();
        if self.rows.is_empty() || columns == 0 {
            return Err(Error::NoWeights {
                rows: self.rows.len(),
                columns,
            });
        }
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
                    && !(-ROUNDING..=1.0 + ROUNDING).contains(&value)
                {
                    return Err(Error::NotAWeight { row, column, value });
                }
            }
        }
        Ok(())
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
            Err(Error::NotAWeight {
                row: 0,
                column: 1,
                value: 1.5
            })
        );
        assert!(heatmap(vec![vec![Some(f32::NAN), None]]).check().is_err());
    }
}
