//! Messages of candle's errors.

/// The message of a candle error without the backtrace that candle includes in it.
pub fn tensor_message(error: &candle_core::Error) -> String {
    use candle_core::Error::{Context, WithBacktrace, WithPath};
    match error {
        WithBacktrace { inner, .. } => tensor_message(inner),
        WithPath { inner, path } => format!("{}: {}", path.display(), tensor_message(inner)),
        Context { inner, context } => format!("{context}: {}", tensor_message(inner)),
        other => other.to_string(),
    }
}
