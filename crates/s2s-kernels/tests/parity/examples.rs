//! The examples, whose tests are at their ends.

#![expect(dead_code, reason = "their main functions")]

#[path = "../../examples/char_lm.rs"]
mod char_lm;
#[path = "../../examples/own_cell.rs"]
mod own_cell;
#[path = "../../examples/tagger.rs"]
mod tagger;
