/// Why a picture cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A plot without series.
    #[error("the plot has no series")]
    NoSeries,
    /// A series without points.
    #[error("series `{label}` has no points")]
    NoPoints {
        /// Label of the series.
        label: String,
    },
    /// A coordinate or a limit of a band is NaN or infinite.
    #[error("series `{label}` has a value that is not finite: y = {y} at x = {x}")]
    NotFinite {
        /// Label of the series or the shaded range.
        label: String,
        /// Its x.
        x: f64,
        /// Its y.
        y: f64,
    },
    /// A value on a logarithmic axis that is not positive.
    #[error("a logarithmic axis needs positive values, got y = {y} at x = {x} in series `{label}`")]
    NotPositive {
        /// Label of the series or the shaded range.
        label: String,
        /// Its x.
        x: f64,
        /// Its y.
        y: f64,
    },
    /// A heatmap without cells: the model has no attention, or its output is empty.
    #[error("no attention weights to draw: {rows} rows of {columns} columns")]
    NoWeights {
        /// Output tokens.
        rows: usize,
        /// Source tokens.
        columns: usize,
    },
    /// The number of rows of weights differs from the number of predicted tokens, or of names.
    #[error("{weights} rows of weights for {tokens} rows of tokens")]
    RowCount {
        /// Rows of weights.
        weights: usize,
        /// Predicted tokens, or names of rows.
        tokens: usize,
    },
    /// The length of a row differs from the length of the source.
    #[error("row {row} has {cells} weights for {columns} source tokens")]
    RowLength {
        /// Index of the row.
        row: usize,
        /// Number of weights in the row.
        cells: usize,
        /// Source tokens.
        columns: usize,
    },
    /// A value outside the range of the heatmap, NaN or infinite.
    #[error("a value must lie in [{}, {}], got {value} in row {row}, column {column}", range.0, range.1)]
    OutOfRange {
        /// Index of the row.
        row: usize,
        /// Index of the column.
        column: usize,
        /// The value.
        value: f32,
        /// The range.
        range: (f32, f32),
    },
    /// A picture with a side of more than 65,535 pixels, which a GIF cannot have.
    #[error("a GIF has at most 65535 pixels per side, got {width} × {height}")]
    TooLarge {
        /// Pixels per line.
        width: u32,
        /// Lines.
        height: u32,
    },
    /// A grid without panels.
    #[error("the grid has no panels")]
    NoPanels,
    /// A terminal too narrow for a heatmap.
    #[error("the heatmap needs a terminal of {needed} columns, got {width}")]
    TooNarrow {
        /// Columns of the narrowest version.
        needed: usize,
        /// Columns of the terminal.
        width: usize,
    },
}
