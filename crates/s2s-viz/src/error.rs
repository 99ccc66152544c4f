/// Why something cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to plot.
    #[error("the plot has no series")]
    NoSeries,
    /// A series without a mean line, so without an end to write its name at.
    #[error("series `{label}` has no points")]
    NoPoints {
        /// Name of the series.
        label: String,
    },
    /// A coordinate, or an end of a band, is NaN or infinite.
    #[error("series `{label}` is not finite: y = {y} at x = {x}")]
    NotFinite {
        /// Name of the series, or of the shade.
        label: String,
        /// Where.
        x: f64,
        /// The value there.
        y: f64,
    },
    /// A value that a logarithmic axis has no place for.
    #[error("a logarithmic axis shows positive values, got y = {y} at x = {x} in series `{label}`")]
    NotPositive {
        /// Name of the series, or of the shade.
        label: String,
        /// Where.
        x: f64,
        /// The value there.
        y: f64,
    },
    /// A heatmap without cells: the model has no attention, or predicted nothing.
    #[error("no attention weights to draw: {rows} rows of {columns} columns")]
    NoWeights {
        /// Output tokens.
        rows: usize,
        /// Source tokens.
        columns: usize,
    },
    /// The rows of weights are not as many as the predicted tokens.
    #[error("{weights} rows of weights for {tokens} predicted tokens")]
    RowCount {
        /// Rows of weights.
        weights: usize,
        /// Predicted tokens.
        tokens: usize,
    },
    /// A row is not as long as the source.
    #[error("row {row} has {cells} weights for {columns} source tokens")]
    RowLength {
        /// Index of the row.
        row: usize,
        /// Its weights.
        cells: usize,
        /// Source tokens.
        columns: usize,
    },
    /// A number that is no attention weight; NaN is one of them.
    #[error("a weight must lie in [0, 1], got {value} in row {row}, column {column}")]
    NotAWeight {
        /// Index of the row.
        row: usize,
        /// Index of the column.
        column: usize,
        /// What stands there.
        value: f32,
    },
    /// A grid of no heatmaps.
    #[error("the grid has no panels")]
    NoPanels,
    /// A terminal too narrow for a heatmap.
    #[error("the heatmap needs {needed} columns of the terminal, got {width}")]
    TooNarrow {
        /// Columns that the narrowest form takes.
        needed: usize,
        /// Columns there are.
        width: usize,
    },
}
