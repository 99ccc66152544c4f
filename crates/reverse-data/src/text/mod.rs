//! Text: pairs of source and target lines, from parallel files or from one table.
//!
//! ```text
//! data.folder   train.src train.trg   line i of the source belongs to line i of the target
//!               dev.src   dev.trg
//!               test.src  test.trg
//! data.file     pairs.tsv             one pair per line, split by the hash of the source
//! ```
//!
//! Source and target share one vocabulary. It consists of the tokens of the training split, sorted by
//! descending frequency and then by bytes, or of the lines of a vocabulary file. All other tokens are
//! read as `<unk>`.
//!
//! Parsing reads each line once: it counts tokens, hashes sources, and stores the positions of lines in
//! the file, which is kept as it is. A sample is tokenized when it is read. Files are passed as bytes;
//! this module does no I/O.

mod corpus;
mod counts;
mod file;
mod hash;
mod pairs;
mod span;
mod table;
mod tokenization;

pub use corpus::Corpus;
pub use file::{MAX_LINES, TextFile, corpus_paths, strip_byte_order_mark, strip_line_end};
pub use pairs::Pairs;
pub use tokenization::Tokenization;
