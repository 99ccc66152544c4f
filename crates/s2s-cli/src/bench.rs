//! `s2s bench`.

use std::hint::black_box;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::time::Instant;

use reverse_data::Split;
use s2s_kernels::fma_peak_gflops;
use s2s_lab::statistics::median;
use s2s_model::{
    BatchLoss, Greedy, Noise, Seq2Seq, Source, Stop, Workload, forward_flops, step_flops,
};
use s2s_train::{ExperimentConfig, Runtime, Tally, Trainer, to_batch};
use s2s_viz::Table;
use serde::Serialize;

use crate::config::ConfigArgs;
use crate::failure::Usage;
use crate::machine::{MachineArgs, batch_size};
use crate::ui::Ui;
use crate::usage;

const EXAMPLES: &str = "\
Examples:
  s2s bench step --config configs/notebook.toml --threads 1
  s2s bench step --set model.kernels=reference --json
  s2s bench step --set model.cell=lstm
  s2s bench decode --batch 1 --n 100
  s2s bench data --n 1000";

/// Time training steps, greedy decoding or the data
///
/// Each iteration takes a fresh batch of random sequences, all of them max_len long (those of the
/// training set for `data`); one more warms up before. `step` is the step that `train` takes: batch, masks, forward, backward, clipping,
/// Adam. `decode` is a whole greedy decoding by an untrained model, ended where a right answer ends,
/// with the weights packed beforehand. `data` is what a training step does beside
/// the model: draw a batch and make tensors of it, toss the coins of teacher forcing, count what was
/// right. On a busy machine compare processor time on one thread.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to time
    #[arg(value_enum)]
    work: Work,
    #[command(flatten)]
    config: ConfigArgs,
    /// Sequences a batch [default: the configuration's for training]
    #[arg(long, value_name = "N", value_parser = batch_size())]
    batch: Option<NonZeroUsize>,
    /// Iterations to time
    #[arg(long, value_name = "K", default_value = "7")]
    n: NonZeroU64,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Work {
    /// A training step
    Step,
    /// A greedy decoding
    Decode,
    /// The data of a training step
    Data,
}

/// What was timed, and what it took.
#[derive(Serialize)]
struct Record {
    work: Work,
    kernels: &'static str,
    device: String,
    threads: usize,
    batch: usize,
    source_len: usize,
    target_len: usize,
    n: u64,
    /// Wall time of an iteration.
    median_ms: f64,
    min_ms: f64,
    /// Processor time of an iteration, all threads together: the median.
    cpu_ms: f64,
    /// By the median of the wall time.
    sequences_per_s: f64,
    /// The most memory that the process held; absent where the system does not tell.
    peak_mib: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    speed: Option<Speed>,
}

/// How near the work came to what the core can do; of data there are no operations to count.
#[derive(Serialize)]
struct Speed {
    /// Necessary operations of an iteration, in 10⁹.
    gflop: f64,
    /// Those by the processor time.
    gflops: f64,
    /// What one core can do, measured between the iterations.
    peak_gflops: f64,
    share_of_peak: f64,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let mut config = args.config.load()?;
    if let Some(batch) = args.batch {
        config.train.batch_size = batch;
    }
    if !matches!(args.work, Work::Data) {
        if config.data.is_text() {
            let what = "bench draws its own sequences; leave data.folder out";
            return Err(Usage(what.to_owned()).into());
        }
        draw_full_lengths(&mut config);
    }
    let runtime = args.machine.runtime()?;
    let mut trainer = Trainer::new(config, runtime.threads, &runtime.device)?;
    let timing = match args.work {
        Work::Step => step(&mut trainer, args.n)?,
        Work::Decode => decode(&trainer, args.n)?,
        Work::Data => data(&trainer, args.n)?,
    };
    let record = Record::new(args.work, &trainer, &runtime, &timing);
    if args.json {
        ui.data(&format!("{}\n", serde_json::to_string(&record)?))?;
    } else {
        ui.data(&table(&record).text())?;
    }
    Ok(0)
}

/// Endless samples, each as long as they get.
fn draw_full_lengths(config: &mut ExperimentConfig) {
    let data = &mut config.data;
    data.min_len = data.max_len;
    data.train_samples = 0;
    // Not read, but a configuration needs samples in every split and an end.
    (data.val_samples, data.test_samples) = (1, 1);
    (config.train.max_steps, config.train.eval_every) = (u64::MAX, u64::MAX);
}

fn step(trainer: &mut Trainer<Seq2Seq>, n: NonZeroU64) -> anyhow::Result<Timing> {
    Timing::measure(n, |_| {
        trainer.step()?;
        Ok(())
    })
}

fn decode(trainer: &Trainer<Seq2Seq>, n: NonZeroU64) -> anyhow::Result<Timing> {
    let (model, data) = (trainer.model(), trainer.data());
    let mut greedy = Greedy::new(model)?;
    Timing::measure(n, |index| {
        let padded = data.source.batch(Split::Train, index);
        let target_len = padded.target_len();
        let (ids, lengths) = (padded.source, padded.source_lengths);
        let source = Source::from_padded(ids, lengths, model.tokens())?;
        // EOS is forbidden, and each row ended after as many tokens as its target has.
        let stop = Stop::AtSourceLength {
            n_markers: 0,
            growth: target_len,
        };
        let mut left = padded.target_lengths;
        greedy.watch(&source, stop, &mut |row, _| {
            left[row] -= 1;
            match left[row] {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })?;
        Ok(())
    })
}

fn data(trainer: &Trainer<Seq2Seq>, n: NonZeroU64) -> anyhow::Result<Timing> {
    let (config, data) = (trainer.config(), trainer.data());
    let tokens = trainer.model().tokens();
    let forcing = &config.train.teacher_forcing;
    Timing::measure(n, |index| {
        let batch = to_batch(data.source.batch(Split::Train, index), tokens)?;
        let (rows, steps) = (batch.n_rows(), batch.target_len());
        let noise = Noise::new(config.seed, index);
        let coins = noise.coins(forcing.ratio.get(), forcing.per, rows, steps);
        let loss = BatchLoss {
            loss_sum: 0.0,
            predictions: batch.target_out().to_vec(),
        };
        black_box((Tally::forced(&loss, &batch), batch, coins));
        Ok(())
    })
}

/// The times of every iteration, in milliseconds, and what the core could have done meanwhile.
struct Timing {
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    peak_gflops: f64,
}

impl Timing {
    /// Runs iteration 0 without looking at the clock, then `n` others.
    fn measure(
        n: NonZeroU64,
        mut iterate: impl FnMut(u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        iterate(0)?;
        let mut timing = Self {
            wall_ms: Vec::new(),
            cpu_ms: Vec::new(),
            peak_gflops: fma_peak_gflops(),
        };
        for step in 1..=n.get() {
            let (started, spent) = (Instant::now(), usage::cpu_ms()?);
            iterate(step)?;
            timing.cpu_ms.push(usage::cpu_ms()? - spent);
            timing.wall_ms.push(1e3 * started.elapsed().as_secs_f64());
            timing.peak_gflops = timing.peak_gflops.max(fma_peak_gflops());
        }
        Ok(timing)
    }
}

impl Record {
    fn new(work: Work, trainer: &Trainer<Seq2Seq>, runtime: &Runtime, timing: &Timing) -> Self {
        let batch = trainer.data().source.batch(Split::Train, 0);
        let sizes = Workload {
            batch: batch.n_rows(),
            source_len: batch.source_len(),
            target_len: batch.target_len(),
            vocab_size: trainer.model().tokens().size,
        };
        let config = trainer.config();
        let flops = match work {
            Work::Step => Some(step_flops(&config.model, &sizes)),
            Work::Decode => Some(forward_flops(&config.model, &sizes)),
            Work::Data => None,
        };
        let middle = |ms: &[f64]| median(ms).expect("at least one iteration was timed");
        let (median_ms, cpu_ms) = (middle(&timing.wall_ms), middle(&timing.cpu_ms));
        let speed = |flops: f64| {
            let gflops = flops / 1e6 / cpu_ms;
            Speed {
                gflop: flops / 1e9,
                gflops,
                peak_gflops: timing.peak_gflops,
                share_of_peak: gflops / timing.peak_gflops,
            }
        };
        Self {
            work,
            kernels: trainer.model().kernels_name(),
            device: runtime.device_name.clone(),
            threads: runtime.threads,
            batch: sizes.batch,
            source_len: sizes.source_len,
            target_len: sizes.target_len,
            n: timing.wall_ms.len() as u64,
            median_ms,
            min_ms: timing.wall_ms.iter().copied().fold(f64::INFINITY, f64::min),
            cpu_ms,
            sequences_per_s: 1e3 * sizes.batch as f64 / median_ms,
            peak_mib: usage::peak_mib(),
            speed: flops.map(speed),
        }
    }
}

fn table(record: &Record) -> Table {
    let peak_mib = record.peak_mib.map(|mib| format!("{mib:.0} MiB"));
    let mut rows = vec![
        ("batch", record.batch.to_string()),
        (
            "source, target",
            format!("{}, {}", record.source_len, record.target_len),
        ),
        (
            "kernels, threads",
            format!("{}, {}", record.kernels, record.threads),
        ),
        ("median", format!("{:.3} ms", record.median_ms)),
        ("least", format!("{:.3} ms", record.min_ms)),
        ("processor", format!("{:.3} ms", record.cpu_ms)),
        (
            "throughput",
            format!("{:.0} sequences/s", record.sequences_per_s),
        ),
        ("peak memory", peak_mib.unwrap_or_else(|| "-".to_owned())),
    ];
    if let Some(speed) = &record.speed {
        rows.extend([
            ("necessary", format!("{:.3} GFLOP", speed.gflop)),
            ("done", format!("{:.1} GFLOP/s", speed.gflops)),
            ("possible", format!("{:.1} GFLOP/s", speed.peak_gflops)),
            ("share", format!("{:.1} %", 100.0 * speed.share_of_peak)),
        ]);
    }
    let title = match record.work {
        Work::Step => "training step",
        Work::Decode => "greedy decoding",
        Work::Data => "data of a training step",
    };
    Table::new()
        .column(title, rows.iter().map(|(name, _)| name))
        .column("", rows.iter().map(|(_, value)| value))
}
