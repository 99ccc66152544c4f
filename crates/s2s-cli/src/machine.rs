//! Device, threads and batch size.

use std::num::NonZeroUsize;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use s2s_train::{Runtime, open_device};

use crate::STACK_BYTES;
use crate::failure::{FEWER_THREADS, Hinted};

/// Larger batches are most likely typing errors and would exhaust memory.
const MAX_BATCH: u64 = 1 << 16;

#[derive(clap::Args)]
pub(crate) struct MachineArgs {
    /// Number of threads [default: all cores]; does not affect results
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    /// Device: cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

impl MachineArgs {
    /// Opens the device and sets up the thread pool. Must be called only once per process.
    pub(crate) fn runtime(&self) -> anyhow::Result<Runtime> {
        let device = open_device(&self.device)?;
        let threads = self
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("worker {index}"))
            .stack_size(STACK_BYTES)
            .build_global()
            .map_err(|error| Hinted {
                what: format!("cannot start {threads} worker threads: {error}"),
                hint: FEWER_THREADS.to_owned(),
            })?;
        let command = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
        Ok(Runtime {
            device,
            device_name: self.device.clone(),
            threads,
            command: command.collect(),
        })
    }
}

/// Parses a batch size.
pub(crate) fn batch_size() -> impl TypedValueParser<Value = NonZeroUsize> {
    RangedU64ValueParser::<usize>::new()
        .range(1..=MAX_BATCH)
        .try_map(NonZeroUsize::try_from)
}
