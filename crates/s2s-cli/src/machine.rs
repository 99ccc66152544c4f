//! Device, threads and batch size.

use std::num::NonZeroUsize;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use s2s_train::{DeviceError, ExperimentConfig, Runtime, Work, choose_device, open_device};

use crate::STACK_BYTES;
use crate::failure::{FEWER_THREADS, Hinted};
use crate::ui::Ui;

/// Larger batches are most likely typing errors and would exhaust memory.
const MAX_BATCH: u64 = 1 << 16;

#[derive(clap::Args)]
pub(crate) struct MachineArgs {
    /// Number of threads [default: all cores]; does not affect results
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    /// Device: cpu, cuda, cuda:N, metal, or auto for the fastest; see docs/devices.md
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

impl MachineArgs {
    /// Checks that the device exists, for a command that turns out not to need it.
    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        match self.device.as_str() {
            "auto" => Ok(()),
            name => open_device(name).map(drop),
        }
    }

    /// Opens the device and sets up the thread pool. Must be called only once per process.
    /// For `--device auto`, `config` has the sizes; reports the choice.
    pub(crate) fn runtime(
        &self,
        work: Work,
        config: impl FnOnce() -> anyhow::Result<ExperimentConfig>,
        ui: &Ui,
    ) -> anyhow::Result<Runtime> {
        let threads = self
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let (device, device_name, device_reason) = match self.device.as_str() {
            "auto" => {
                let chosen = choose_device(&config()?, work, threads);
                ui.message(format!("device  auto: {}, {}", chosen.name, chosen.reason));
                (chosen.device, chosen.name.to_owned(), chosen.reason)
            }
            name => (open_device(name)?, name.to_owned(), String::new()),
        };
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
            device_name,
            device_reason,
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
