//! The data of an attention heatmap: which output token looked at which source token.

use crate::Error;

/// A weight may leave `[0, 1]` by this much: a sum of 32-bit shares need not be exactly 1.
const ROUNDING: f32 = 1e-3;

/// Attention weights with the source tokens along the top and the output tokens down the side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heatmap {
    /// What the picture shows.
    pub title: String,
    /// Under what conditions.
    pub subtitle: String,
    /// The source tokens.
    pub columns: Vec<String>,
    /// The output tokens from first to last.
    pub rows: Vec<HeatmapRow>,
}

/// An output token and where the model looked for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatmapRow {
    /// The token.
    pub token: String,
    /// Whether another token was due here: it is marked.
    pub is_wrong: bool,
    /// A weight for each source token, in `[0, 1]`; `None` is drawn as masked.
    pub weights: Vec<Option<f32>>,
}

/// Several heatmaps on one sheet, with one color bar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatmapGrid {
    /// What the sheet shows.
    pub title: String,
    /// Under what conditions.
    pub subtitle: String,
    /// The heatmaps, row by row.
    pub panels: Vec<Heatmap>,
    /// Panels in a row.
    pub panels_per_row: usize,
}

impl Heatmap {
    /// That there are cells, a weight in each.
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
