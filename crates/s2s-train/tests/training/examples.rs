//! The examples, whose tests are at their ends. As modules, they share one binary.

#![expect(dead_code, reason = "their main functions")]

#[path = "../../examples/own_attention.rs"]
mod own_attention;
#[path = "../../examples/own_data.rs"]
mod own_data;
#[path = "../../examples/own_task.rs"]
mod own_task;
#[path = "../../examples/train.rs"]
mod train;
