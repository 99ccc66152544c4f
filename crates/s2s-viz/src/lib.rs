//! Curves, heatmaps and tables from the records of a run.
