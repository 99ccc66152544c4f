/// Why a picture cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line plot without series, or a dot plot without values.
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
        /// Label of the series, the shaded range, or the row of a dot plot.
        label: String,
        /// The x of the point; in a dot plot, the position of the number in its row, from 1.
        x: f64,
        /// The y of the point; in a dot plot, the number.
        y: f64,
    },
    /// A value on a logarithmic axis that is not positive.
    #[error("a logarithmic axis needs positive values, got y = {y} at x = {x} in series `{label}`")]
    NotPositive {
        /// Label of the series, the shaded range, or the row of a dot plot.
        label: String,
        /// The x of the point; in a dot plot, the position of the number in its row, from 1.
        x: f64,
        /// The y of the point; in a dot plot, the number.
        y: f64,
    },
    /// A heatmap without cells: for example, the model has no attention, or its output is empty.
    #[error("no attention weights to draw: {rows} rows of {columns} columns")]
    NoWeights {
        /// Number of rows.
        rows: usize,
        /// Number of columns.
        columns: usize,
    },
    /// The number of rows of weights differs from the number of predicted tokens, or of names.
    #[error("{weights} rows of weights for {tokens} rows of tokens")]
    RowCount {
        /// Number of rows of weights.
        weights: usize,
        /// Number of predicted tokens, or of names of rows.
        tokens: usize,
    },
    /// The length of a row differs from the number of columns.
    #[error("row {row} has {cells} weights for {columns} source tokens")]
    RowLength {
        /// Index of the row, from 0.
        row: usize,
        /// Number of weights in the row.
        cells: usize,
        /// Number of columns.
        columns: usize,
    },
    /// A value outside the range of the heatmap, NaN or infinite.
    #[error("a value must lie in [{}, {}], got {value} in row {row}, column {column}", range.0, range.1)]
    OutOfRange {
        /// Index of the row, from 0.
        row: usize,
        /// Index of the column, from 0.
        column: usize,
        /// The value.
        value: f32,
        /// The range of the heatmap: minimum and maximum.
        range: (f32, f32),
    },
    /// A picture with a side of more than 65,535 pixels, which a GIF cannot have.
    #[error("a GIF has at most 65535 pixels per side, got {width} × {height}")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
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
