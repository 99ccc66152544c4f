//! Token sequences to learn from: tasks, leak-free splits, padded batches.
