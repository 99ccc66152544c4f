//! The evaluations by length, over the seeds of each cell.

mod costs;
mod findings;
mod part;
mod plots;
mod rows;
mod tables;

pub(super) use findings::findings;
pub(super) use plots::plots;
pub(super) use rows::rows;
pub(super) use tables::{sections, summaries};
