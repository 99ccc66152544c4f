//! The run directory: what stands in it, and the safe writing and reading of it.

pub mod record;
