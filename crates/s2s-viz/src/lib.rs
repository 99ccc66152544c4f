//! Turns the records of a run into line plots, attention heatmaps and tables.
//!
//! ```
//! use s2s_viz::{Hue, LinePlot, Series, YAxis};
//!
//! let plot = LinePlot {
//!     title: "Loss".into(),
//!     x_label: "epoch".into(),
//!     y_axis: YAxis::Log,
//!     series: vec![
//!         Series::new("train", Hue::Blue, vec![(1.0, 3.9), (2.0, 1.2), (3.0, 0.3)]),
//!         Series::new("validation", Hue::Vermilion, vec![(1.0, 3.1), (2.0, 1.4), (3.0, 0.4)]),
//!     ],
//!     ..LinePlot::default()
//! };
//! let figure = plot.draw()?;
//! assert!(figure.svg().starts_with("<svg"));
//! assert!(figure.png().bytes.starts_with(b"\x89PNG"));
//! # Ok::<(), s2s_viz::Error>(())
//! ```
//!
//! [`loss_plot`], [`accuracy_plot`], [`exact_match_plot`], [`lengths_plots`] and
//! [`Heatmap::from_record`] build plots from records. Plots are plain structs, so titles and labels
//! can be changed before drawing. Equal data give equal bytes.
//!
//! [`Page`] is the viewer: runs as one HTML page, whose program is in the folder `viewer`.
//! [`ExperimentPage`] shows many runs.
//!
//! This crate deliberately prints nothing, and opens no file but fonts of the system, for characters
//! that the embedded fonts lack. Its plots have no legends: each line is labeled at its end.

mod animation;
mod axis;
mod bitmap;
mod color;
mod curve;
mod dots;
mod error;
mod figure;
mod fonts;
mod grid;
mod header;
mod heatmap;
mod labels;
mod lengths;
mod look;
mod mark;
mod page;
mod paint;
mod panel;
mod records;
mod series;
mod table;
mod terminal;
mod text;
mod ticks;

pub use axis::{XAxis, YAxis};
pub use color::{Hue, Rgb, WARNING, viridis};
pub use curve::{LinePlot, Shade};
pub use dots::{DotPlot, DotRow};
pub use error::Error;
pub use figure::{Figure, Png};
pub use grid::LineGrid;
pub use heatmap::{Heatmap, HeatmapGrid, HeatmapRow};
pub use lengths::{lengths_axis, lengths_plots};
pub use look::{Look, Stroke};
pub use page::{
    ExperimentPage, Page, PageCell, PageCellRun, PageCommand, PageCurve, PageMetric, PageRun,
    PageSource, PageWeights, SequencePage,
};
pub use records::{
    accuracy_plot, exact_match_plot, heatmap_png, loss_plot, points, terminal_heatmap, x_label,
};
pub use series::{Series, Spread};
pub use table::Table;
pub use terminal::{Ink, shade};
pub use text::clean;
