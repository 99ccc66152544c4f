//! Line plots, dot plots, heatmaps and tables: of any data, and of the records of a run.
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
//! A plot is a plain struct: a [`LinePlot`], a [`LineGrid`] of them, a [`DotPlot`], a [`Heatmap`] or a
//! [`HeatmapGrid`]. Its method `draw` returns a [`Figure`], which becomes SVG or PNG. [`Heatmap::new`] takes
//! any matrix; a heatmap can also become an animated GIF or text for a terminal. A [`Table`] becomes plain
//! text or Markdown. Equal data give equal bytes.
//!
//! # Features
//!
//! `records`, on by default, adds what knows the files of a run:
//!
//! * plots of its records: `loss_plot`, `accuracy_plot`, `exact_match_plot`, `lengths_plots`,
//!   `Heatmap::from_record`;
//! * `Page` and `ExperimentPage`, the viewer: runs as one HTML page, whose program is in the folder `viewer`;
//! * fonts of the system, for characters that the embedded fonts lack.
//!
//! Without it, the crate depends on no other crate of this project:
//! `s2s-viz = { version = "0.1", default-features = false }`.
//!
//! This crate deliberately prints nothing, and opens no file but those fonts. Its plots have no legends: each
//! line is labeled at its end.

mod animation;
mod axis;
mod bitmap;
mod color;
mod curve;
mod dots;
mod error;
mod figure;
mod font;
mod fonts;
mod grid;
mod header;
mod heatmap;
mod labels;
#[cfg(feature = "records")]
mod lengths;
mod look;
mod mark;
#[cfg(feature = "records")]
mod page;
mod paint;
mod panel;
#[cfg(feature = "records")]
mod records;
mod series;
#[cfg(feature = "records")]
mod system_fonts;
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
#[cfg(feature = "records")]
pub use lengths::{lengths_axis, lengths_plots};
pub use look::{Look, Stroke};
#[cfg(feature = "records")]
pub use page::{
    ExperimentPage, Page, PageCell, PageCellRun, PageCommand, PageCurve, PageMetric, PageRun,
    PageSource, PageWeights, SequencePage,
};
#[cfg(feature = "records")]
pub use records::{
    accuracy_plot, exact_match_plot, heatmap_png, loss_plot, points, terminal_heatmap, x_label,
};
pub use series::{Series, Spread};
pub use table::Table;
pub use terminal::{Ink, shade};
pub use text::clean;
