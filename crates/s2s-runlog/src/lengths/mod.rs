//! Evaluation by length: which lengths, what was asked for, and what came of it.

mod list;
mod record;
mod request;

pub use list::{Lengths, LengthsError, MAX_LENGTH};
pub use record::{LengthRange, LengthRecord, LengthSums, LengthTiming, LengthsMean, LengthsRecord};
pub use request::{DecodingMode, LengthsRequest, Protocol};
