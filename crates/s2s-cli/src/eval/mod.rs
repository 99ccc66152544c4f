//! `s2s eval`.

mod by_length;
mod progress;
mod tables;

use std::num::NonZeroUsize;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use reverse_data::Split;
use s2s_lab::statistics::percent;
use s2s_model::NonFinite;
use s2s_runlog::EvalRecord;
use s2s_train::{evaluate, reopen_data};
use s2s_viz::Table;

use crate::checkpoint::{CheckpointArgs, Loaded};
use crate::machine::batch_size;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s eval runs/default-seed0
  s2s eval runs/default-seed0 --split val --json
  s2s eval runs/default-seed0 --lengths 1..40
  s2s eval runs/default-seed0 --lengths 1..12,20..500 --step 20 --samples 50 --name far
  s2s eval runs/deepmind-seed0 --protocol deepmind";

/// Evaluate a trained model on a split or by length
///
/// Decoding is free-running: the model is fed its own output. Token accuracy is the share of
/// reference tokens (EOS included) that are predicted correctly; exact match is the share of
/// sequences that are correct as a whole.
///
/// With --lengths or --protocol, each length is evaluated separately, also beyond the training
/// lengths, on sequences that no training set contains. Results go to lengths.json, lengths.csv and
/// plots/lengths.* in the run folder. After Ctrl-C, the same command continues; an existing
/// evaluation with other options is never overwritten. Errors are classified as early (EOS too
/// soon), over (EOS missing) or wrong (correct length, wrong token). Time grows with the square of
/// the length, memory linearly.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// Split to evaluate
    #[arg(
        long,
        default_value = "test",
        value_parser = PossibleValuesParser::new(["val", "test"]).try_map(|name| name.parse::<Split>())
    )]
    split: Split,
    /// Sequences per batch [default: train.eval_batch_size]; affects results by rounding only
    #[arg(long, value_name = "N", value_parser = batch_size(), conflicts_with = "which")]
    batch_size: Option<NonZeroUsize>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Accept a checkpoint with parameters that are not finite
    #[arg(long, conflicts_with = "which")]
    allow_nonfinite: bool,
    #[command(flatten)]
    by_length: by_length::LengthsArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    if let Some(request) = by_length::request(args)? {
        return by_length::run(args, request, ui);
    }
    let Loaded {
        dir,
        mut model,
        config,
        step,
        ..
    } = args.checkpoint.load_with(match args.allow_nonfinite {
        true => NonFinite::Accept,
        false => NonFinite::Reject,
    })?;
    let batch_size = args.batch_size.unwrap_or(config.train.eval_batch_size);
    let data = reopen_data(&dir, &config)?
        .source
        .with_batch_size(batch_size);
    let record = evaluate(&mut model, &*data, args.split)?.record(args.split, step);
    if args.json {
        ui.data(&format!("{}\n", serde_json::to_string(&record)?))?;
    } else {
        ui.data(&table(&record).text())?;
    }
    Ok(0)
}

/// The metrics of a split as a table with one row.
pub(crate) fn table(record: &EvalRecord) -> Table {
    Table::new()
        .column("split", [&record.split])
        .column("sequences", [record.n_sequences])
        .column("loss", [format!("{:.4}", record.loss)])
        .column("forced loss", [format!("{:.4}", record.forced_loss)])
        .column("token accuracy", [percent(record.token_accuracy)])
        .column("exact match", [percent(record.exact_match)])
        .column("step", [record.step])
}
