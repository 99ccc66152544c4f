//! Configuration, loss, optimizer, schedules, metrics, the training loop, evaluation, checkpoints.
