//! Evaluation by length: lengths, requests and results.

mod list;
mod record;
mod request;

pub use list::{Lengths, LengthsError, MAX_LENGTH};
pub use record::{LengthRange, LengthRecord, LengthSums, LengthTiming, LengthsMean, LengthsRecord};
pub use request::{DecodingMode, LengthsRequest, Protocol};
