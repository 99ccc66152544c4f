//! `s2s bench`.

use std::hint::black_box;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::time::Instant;

use reverse_data::Split;
use s2s_kernels::fma_peak_gflops;
use s2s_lab::statistics::median;
use s2s_model::{
    BatchLoss, Beam, Constraints, Generator, Noise, OutputLimit, Sampling, Seq2Seq, Source, Stop,
    Workload, forward_flops, step_flops,
};
use s2s_train::{ExperimentConfig, Runtime, Scoring, Tally, Trainer, Work as DeviceWork, to_batch};
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
  s2s bench beam --config configs/notebook.toml --batch 64 --threads 1
  s2s bench data --n 1000";

/// Time training steps, decoding or data preparation
///
/// Each iteration uses a new batch of random sequences of length max_len (for `data`, batches of
/// the training set), after one warm-up iteration. `step` is a training step as in `train`: batch,
/// masks, forward, backward, clipping, Adam. `decode` is greedy decoding with an untrained model,
/// stopped at the length of the target, with weights packed beforehand. `beam` is the same with a beam of 5,
/// and `sample` with random tokens. `data` is the work of a training step outside the model: drawing a batch, building its tensors, teacher-forcing
/// decisions, counting correct tokens. On a busy machine, compare CPU time on one thread.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to time
    #[arg(value_enum)]
    work: Work,
    #[command(flatten)]
    config: ConfigArgs,
    /// Sequences per batch [default: train.batch_size]
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
    /// A beam search of width 5
    Beam,
    /// A random output for each sequence
    Sample,
    /// The data of a training step
    Data,
}

/// What was timed, and the results.
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
    /// Median wall time of an iteration.
    median_ms: f64,
    min_ms: f64,
    /// Median CPU time of an iteration, summed over threads.
    cpu_ms: f64,
    /// From the median wall time.
    sequences_per_s: f64,
    /// Peak memory of the process; absent where the system does not report it.
    peak_mib: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    speed: Option<Speed>,
}

/// Throughput relative to the peak of one core; absent for `beam` and `data`.
#[derive(Serialize)]
struct Speed {
    /// Required operations of an iteration, in 10⁹.
    gflop: f64,
    /// Operations divided by CPU time.
    gflops: f64,
    /// Peak of one core, measured between the iterations.
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
            let what = "bench uses synthetic data except for `bench data`; remove data.file or data.folder";
            return Err(Usage(what.to_owned()).into());
        }
        use_maximum_lengths(&mut config);
    }
    let device_work = match args.work {
        Work::Step | Work::Data => DeviceWork::Train,
        Work::Decode | Work::Beam | Work::Sample => DeviceWork::Decode,
    };
    let runtime = args
        .machine
        .runtime(device_work, || Ok(config.clone()), ui)?;
    let mut trainer = Trainer::new(config, runtime.threads, &runtime.device)?;
    let measured = match args.work {
        Work::Step => step(&mut trainer, args.n)?,
        Work::Decode => decode(&trainer, args.n)?,
        Work::Beam => beam(&trainer, args.n)?,
        Work::Sample => sample(&trainer, args.n)?,
        Work::Data => data(&trainer, args.n)?,
    };
    let record = Record::new(args.work, &trainer, &runtime, &measured);
    if args.json {
        ui.data(&format!("{}\n", serde_json::to_string(&record)?))?;
    } else {
        ui.data(&table(&record).text())?;
    }
    Ok(0)
}

/// Sets endless samples of the maximum length.
fn use_maximum_lengths(config: &mut ExperimentConfig) {
    let data = &mut config.data;
    data.min_len = data.max_len;
    data.train_samples = 0;
    // Not read, but a configuration needs samples in every split and an end.
    (data.val_samples, data.test_samples) = (1, 1);
    (config.train.max_steps, config.train.eval_every) = (u64::MAX, u64::MAX.into());
}

fn step(trainer: &mut Trainer<Seq2Seq>, n: NonZeroU64) -> anyhow::Result<Measurement> {
    Measurement::run(n, |_| {
        trainer.step()?;
        Ok(())
    })
}

fn decode(trainer: &Trainer<Seq2Seq>, n: NonZeroU64) -> anyhow::Result<Measurement> {
    let (model, data) = (trainer.model(), trainer.data());
    let mut generator = Generator::new(model)?;
    Measurement::run(n, |index| {
        let padded = data.source.batch(Split::Train, index);
        let target_len = padded.target_len();
        let (ids, lengths) = (padded.source, padded.source_lengths);
        let source = Source::from_padded(ids, lengths, model.tokens())?;
        // EOS is disabled; each row stops after as many tokens as its target has.
        let stop = Stop::AtSourceLength {
            n_markers: 0,
            growth: target_len,
        };
        let mut remaining = padded.target_lengths;
        generator.watch(&source, stop, &mut |row, _, _| {
            remaining[row] -= 1;
            match remaining[row] {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })?;
        Ok(())
    })
}

/// Hypotheses of a beam.
const WIDTH: usize = 5;

fn beam(trainer: &Trainer<Seq2Seq>, n: NonZeroU64) -> anyhow::Result<Measurement> {
    search(trainer, n, |generator, source, constraints| {
        let beam = Beam {
            constraints,
            ..Beam::new(WIDTH)
        };
        Ok(generator.beam(source, &beam)?)
    })
}

fn sample(trainer: &Trainer<Seq2Seq>, n: NonZeroU64) -> anyhow::Result<Measurement> {
    search(trainer, n, |generator, source, constraints| {
        let sampling = Sampling {
            constraints,
            ..Sampling::default()
        };
        let lines: Vec<u64> = (0..source.n_rows() as u64).collect();
        Ok(generator.sample(source, &lines, &sampling)?)
    })
}

/// Times outputs that have as many tokens as the target, EOS included.
fn search<R>(
    trainer: &Trainer<Seq2Seq>,
    n: NonZeroU64,
    mut outputs: impl FnMut(&mut Generator<'_>, &Source, Constraints) -> s2s_train::Result<R>,
) -> anyhow::Result<Measurement> {
    let (model, data) = (trainer.model(), trainer.data());
    let mut generator = Generator::new(model)?;
    Measurement::run(n, |index| {
        let padded = data.source.batch(Split::Train, index);
        let n_tokens = NonZeroUsize::new(padded.target_len()).unwrap_or(NonZeroUsize::MIN);
        let source = Source::from_padded(padded.source, padded.source_lengths, model.tokens())?;
        let constraints = Constraints {
            stop: Stop::AtEos(OutputLimit::fixed(n_tokens)),
            min_len: n_tokens.get(),
            ..Constraints::default()
        };
        outputs(&mut generator, &source, constraints)?;
        Ok(())
    })
}

fn data(trainer: &Trainer<Seq2Seq>, n: NonZeroU64) -> anyhow::Result<Measurement> {
    let (config, data) = (trainer.config(), trainer.data());
    let tokens = trainer.model().tokens();
    let forcing = &config.train.teacher_forcing;
    Measurement::run(n, |index| {
        let batch = to_batch(data.source.batch(Split::Train, index), tokens)?;
        let (rows, steps) = (batch.n_rows(), batch.target_len());
        let noise = Noise::new(config.seed, index);
        let coins = noise.coins(forcing.ratio.get(), forcing.per, rows, steps);
        let loss = BatchLoss {
            loss_sum: 0.0,
            predictions: batch.target_out().to_vec(),
        };
        let scoring = Scoring::new(trainer.codec());
        black_box((Tally::forced(&loss, &batch, &scoring), batch, coins));
        Ok(())
    })
}

/// Wall and CPU time of every iteration in milliseconds, and the peak of a core.
struct Measurement {
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    peak_gflops: f64,
}

impl Measurement {
    /// Runs iteration 0 as warm-up, then times `n` others.
    fn run(
        n: NonZeroU64,
        mut iterate: impl FnMut(u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        iterate(0)?;
        let mut measured = Self {
            wall_ms: Vec::new(),
            cpu_ms: Vec::new(),
            peak_gflops: fma_peak_gflops(),
        };
        for step in 1..=n.get() {
            let (started, spent) = (Instant::now(), usage::cpu_ms()?);
            iterate(step)?;
            measured.cpu_ms.push(usage::cpu_ms()? - spent);
            measured.wall_ms.push(1e3 * started.elapsed().as_secs_f64());
            measured.peak_gflops = measured.peak_gflops.max(fma_peak_gflops());
        }
        Ok(measured)
    }
}

impl Record {
    fn new(
        work: Work,
        trainer: &Trainer<Seq2Seq>,
        runtime: &Runtime,
        measured: &Measurement,
    ) -> Self {
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
            Work::Decode | Work::Sample => Some(forward_flops(&config.model, &sizes)),
            Work::Beam | Work::Data => None, // the first step of a beam has fewer rows than the others
        };
        let middle = |ms: &[f64]| median(ms).expect("at least one iteration was timed");
        let (median_ms, cpu_ms) = (middle(&measured.wall_ms), middle(&measured.cpu_ms));
        let speed = |flops: f64| {
            let gflops = flops / 1e6 / cpu_ms;
            Speed {
                gflop: flops / 1e9,
                gflops,
                peak_gflops: measured.peak_gflops,
                share_of_peak: gflops / measured.peak_gflops,
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
            n: measured.wall_ms.len() as u64,
            median_ms,
            min_ms: measured
                .wall_ms
                .iter()
                .copied()
                .fold(f64::INFINITY, f64::min),
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
        ("minimum", format!("{:.3} ms", record.min_ms)),
        ("CPU time", format!("{:.3} ms", record.cpu_ms)),
        (
            "throughput",
            format!("{:.0} sequences/s", record.sequences_per_s),
        ),
        ("peak memory", peak_mib.unwrap_or_else(|| "-".to_owned())),
    ];
    if let Some(speed) = &record.speed {
        rows.extend([
            ("required", format!("{:.3} GFLOP", speed.gflop)),
            ("achieved", format!("{:.1} GFLOP/s", speed.gflops)),
            ("peak", format!("{:.1} GFLOP/s", speed.peak_gflops)),
            (
                "share of peak",
                format!("{:.1} %", 100.0 * speed.share_of_peak),
            ),
        ]);
    }
    let title = match record.work {
        Work::Step => "training step",
        Work::Decode => "greedy decoding",
        Work::Beam => "beam search",
        Work::Sample => "sampling",
        Work::Data => "data of a training step",
    };
    Table::new()
        .column(title, rows.iter().map(|(name, _)| name))
        .column("", rows.iter().map(|(_, value)| value))
}
