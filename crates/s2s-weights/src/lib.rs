//! Weights in and out: a trained model for PyTorch and onnxruntime, and weights of other programs as a
//! run.
//!
//! [`export`] makes the files of a folder with which Python runs the model, without this program: weights
//! with PyTorch's names or ONNX graphs, one readable Python file, configuration, vocabulary and a model card.
//! [`Found`] reads safetensors and PyTorch's state dicts, and [`create_run`] makes a run of them, which can
//! be evaluated, queried and trained.
//!
//! ```no_run
//! use std::path::Path;
//! use candle_core::Device;
//! use s2s_model::NonFinite;
//! use s2s_runlog::{CheckpointName, RunDir};
//! use s2s_train::load_model;
//! use s2s_weights::{About, Existing, Format, export, write_export};
//!
//! # fn main() -> s2s_weights::Result<()> {
//! let run = RunDir::open("runs/default-seed0")?;
//! let trained = load_model(&run, CheckpointName::Best, NonFinite::Reject, 1, &Device::Cpu)?;
//! let about = About { name: "reverser".to_owned(), test: None };
//! let files = export(&trained, &about, Format::PyTorch)?;
//! write_export(Path::new("reverser"), &files, Existing::Keep)?;
//! # Ok(())
//! # }
//! ```
//!
//! An exported file of safetensors describes itself; other files contain only names and numbers:
//!
//! ```no_run
//! use std::path::Path;
//! use s2s_weights::Found;
//!
//! # fn main() -> s2s_weights::Result<()> {
//! let found = Found::read(Path::new("reverser/model.safetensors"))?;
//! match found.description() {
//!     Some(description) => println!("exported after {} steps", description.step),
//!     None => println!("not an export of s2s: needs a configuration"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The crate runs no code that a file contains, and deliberately reads no models: only weights.

mod card;
mod description;
mod error;
mod export;
mod header;
mod import;
mod onnx;
mod run;

pub use card::About;
pub use description::{Description, TokenDescription, TokenKind};
pub use error::{Error, Result};
pub use export::{Existing, Files, Format, export, write_export};
pub use import::{Found, read_renames};
pub use run::create_run;
