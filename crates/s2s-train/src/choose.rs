//! `--device auto`: the device that is expected to take the least time.
//!
//! ```text
//! time on a GPU    layers · positions · 72 µs + operations / 27 TFLOP/s
//! time on the CPU  operations / (82 GFLOP/s · √threads) + layers · positions · 40 µs · (1 - 1 / threads)
//! ```
//!
//! A GPU takes a fixed time per position and layer, because each step of a recurrent layer waits for the one
//! before it: small models leave it idle. On a CPU, its threads wait for each other. The constants are fitted to the times in docs/devices.md. No clock
//! is read, so that the same command always chooses the same device.

use candle_core::Device;
use s2s_model::{Workload, forward_flops, step_flops};

use crate::{DeviceError, ExperimentConfig, Precision, open_device};

/// What a device is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Training steps.
    Train,
    /// Evaluation and decoding.
    Decode,
}

/// A device, its name, and why it was chosen.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The device.
    pub device: Device,
    /// Its name: `cpu` or `cuda`.
    pub name: &'static str,
    /// The reason, in one clause.
    pub reason: String,
}

/// Chooses a device for a model and batches of the configured sizes.
pub fn choose_device(config: &ExperimentConfig, work: Work, threads: usize) -> Chosen {
    choose(config, work, threads, || open_device("cuda"))
}

fn choose(
    config: &ExperimentConfig,
    work: Work,
    threads: usize,
    open_gpu: impl FnOnce() -> Result<Device, DeviceError>,
) -> Chosen {
    let times = Times::expected(config, work, threads);
    let on_cpu = |reason: String| Chosen {
        device: Device::Cpu,
        name: "cpu",
        reason,
    };
    let needs_gpu = work == Work::Train && config.train.precision == Precision::Bf16;
    let (cpu, gpu) = (millis(times.cpu), millis(times.gpu));
    let what = match work {
        Work::Train => "a training step",
        Work::Decode => "decoding a batch",
    };
    if times.cpu <= times.gpu && !needs_gpu {
        return on_cpu(format!("{what} is expected to take {cpu}, on a GPU {gpu}"));
    }
    match open_gpu() {
        Ok(device) => Chosen {
            device,
            name: "cuda",
            reason: match needs_gpu {
                true => "train.precision = \"bf16\" needs a GPU".to_owned(),
                false => format!("{what} is expected to take {gpu}, on the CPU {cpu}"),
            },
        },
        Err(error) => on_cpu(error.to_string()),
    }
}

/// Expected seconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    cpu: f64,
    gpu: f64,
}

/// Seconds of a GPU per position and layer, and its operations per second.
const GPU_POSITION: f64 = 72e-6;
const GPU_FLOPS: f64 = 27e12;
/// How much longer a model takes on a GPU that has no kernels for it there.
const WITHOUT_KERNELS: f64 = 10.0;
/// Operations per second of one thread of a CPU.
const CPU_FLOPS: f64 = 82e9;
/// Seconds per position and layer for which many threads of a CPU wait for each other.
const CPU_POSITION: f64 = 40e-6;

/// Length and vocabulary of text, which is not read yet. Both times grow with them alike.
const TEXT_LEN: usize = 24;
const TEXT_VOCAB: usize = 1000;

impl Times {
    fn expected(config: &ExperimentConfig, work: Work, threads: usize) -> Self {
        let (data, model, train) = (&config.data, &config.model, &config.train);
        let (source_len, vocab_size) = match data.is_text() {
            true => (TEXT_LEN, TEXT_VOCAB),
            false => (data.max_len, data.vocab as usize + 2),
        };
        let target_len = match data.is_text() {
            true => TEXT_LEN,
            false => data.max_len * data.task().growth() + 1,
        };
        let batch = match work {
            Work::Train => train.batch_size,
            Work::Decode => train.eval_batch_size,
        };
        let load = Workload {
            batch: batch.get(),
            source_len,
            target_len,
            vocab_size,
        };
        let flops = match work {
            Work::Train => step_flops(model, &load),
            Work::Decode => forward_flops(model, &load),
        };
        let positions = (model.layers.get() * (source_len + target_len)) as f64;
        let is_single = work == Work::Decode || train.precision == Precision::F32;
        let has_kernels = is_single && model.has_cuda_kernels();
        let slower = if has_kernels { 1.0 } else { WITHOUT_KERNELS };
        let batches = match work {
            Work::Train => train.accumulation_steps.get() as f64,
            Work::Decode => 1.0,
        };
        let threads = threads as f64;
        let waiting = positions * CPU_POSITION * (1.0 - 1.0 / threads);
        Self {
            cpu: batches * (flops / (CPU_FLOPS * threads.sqrt()) + waiting),
            gpu: batches * slower * (positions * GPU_POSITION + flops / GPU_FLOPS),
        }
    }
}

fn millis(secs: f64) -> String {
    format!("{:.1} ms", 1e3 * secs)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::load_config;

    /// The notebook's sizes.
    const LARGE: &[&str] = &[
        "model.embedding=128",
        "model.hidden=256",
        "model.decoder=512",
        "model.layers=2",
        "model.attention.units=512",
        "train.batch_size=128",
    ];

    fn config(sets: &[&str]) -> ExperimentConfig {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        load_config(None, &sets).unwrap()
    }

    /// The choice on a machine with a GPU, which is made up: its device is the CPU.
    fn with_gpu(sets: &[&str], work: Work, threads: usize) -> Chosen {
        choose(&config(sets), work, threads, || Ok(Device::Cpu))
    }

    #[test]
    fn large_models_run_on_a_gpu_and_small_ones_on_the_cpu() {
        for work in [Work::Train, Work::Decode] {
            assert_eq!(with_gpu(LARGE, work, 16).name, "cuda");
            let small = ["model.hidden=8", "model.decoder=8", "model.embedding=8"];
            let chosen = with_gpu(&small, work, 1);
            assert_eq!(chosen.name, "cpu");
            assert!(chosen.reason.contains("on a GPU"), "{}", chosen.reason);
        }
        let reason = with_gpu(LARGE, Work::Train, 16).reason;
        assert!(
            reason.starts_with("a training step is expected to take"),
            "{reason}"
        );
    }

    #[test]
    fn the_expected_times_are_near_the_measured_ones() {
        let deepmind = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../configs/deepmind.toml"
        ));
        let deepmind = load_config(Some(deepmind), &[]).unwrap();
        // docs/devices.md: milliseconds of a training step on the GPU, and on 16 threads.
        for (config, gpu, cpu) in [
            (config(LARGE), 5.4, 88.0),
            (config(&[]), 1.85, 5.5),
            (deepmind, 5.15, 7.0),
        ] {
            let times = Times::expected(&config, Work::Train, 16);
            for (expected, measured) in [(times.gpu, gpu), (times.cpu, cpu)] {
                let ratio = 1e3 * expected / measured;
                assert!((0.5..2.0).contains(&ratio), "{expected} s, {measured} ms");
            }
        }
    }

    #[test]
    fn a_model_without_cuda_kernels_takes_ten_times_as_long_on_a_gpu() {
        let gpu = |sets: &[&str]| Times::expected(&config(sets), Work::Train, 1).gpu;
        let (fused, reference) = (gpu(&[]), gpu(&["model.kernels=reference"]));
        assert_eq!(reference, WITHOUT_KERNELS * fused);
        assert_eq!(gpu(&["train.precision=f16"]), reference);
        assert_eq!(gpu(&["train.label_smoothing=0.1"]), fused);
        assert_eq!(gpu(&["train.accumulation_steps=3"]), 3.0 * fused);
        let transducer = [
            "model.decoder={kind=\"transducer\"}",
            "data.source_markers=true",
        ];
        let chosen = with_gpu(&transducer, Work::Train, 16);
        assert_eq!(chosen.name, "cpu", "{}", chosen.reason);
    }

    #[test]
    fn more_threads_never_favor_the_gpu() {
        let name = |threads| with_gpu(LARGE, Work::Decode, threads).name;
        let names: Vec<&str> = (0..20).map(|n| name(1 << n)).collect();
        assert!(names.is_sorted_by_key(|name| *name == "cpu"), "{names:?}");
        assert_eq!((names[0], names[19]), ("cuda", "cpu"));
    }

    #[test]
    fn without_a_gpu_the_reason_is_why_there_is_none() {
        let none = || open_device("cuda:x");
        let chosen = choose(&config(LARGE), Work::Train, 2, none);
        assert_eq!(chosen.name, "cpu");
        assert!(chosen.reason.contains("not the number of a CUDA device"));
    }

    #[test]
    fn bf16_takes_a_gpu_at_any_size() {
        let chosen = with_gpu(&["model.hidden=8", "train.precision=bf16"], Work::Train, 64);
        assert_eq!(chosen.name, "cuda");
        assert!(chosen.reason.contains("bf16"));
    }
}
