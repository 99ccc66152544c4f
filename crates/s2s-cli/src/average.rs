//! `s2s average`.

use std::path::{Path, PathBuf};

use clap::ValueHint;
use reverse_data::Split;
use s2s_lab::statistics::percent;
use s2s_model::NonFinite;
use s2s_runlog::RunDir;
use s2s_train::{
    Error, Evaluation, MeanWeights, OpenSplit, Run, Trained, Trainer, Work, evaluate, load_config,
    load_model, new_identity, open_split, reopen_data,
};
use s2s_viz::Table;

use crate::checkpoint::check_alike;
use crate::failure::{Hinted, Usage};
use crate::machine::MachineArgs;
use crate::shell::{command_line, program, quote};
use crate::train::{ParentRun, start_from};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s average runs/a@best runs/a@last --run-dir runs/a-average
  s2s average runs/a runs/b --run-dir runs/average
  s2s eval runs/average";

/// Average the weights of trained runs
///
/// Evaluates each run and the average on the validation split of the first run, and then writes the average
/// as a new run, which can be evaluated, queried and trained further. A run keeps two checkpoints, best and
/// last. Averaging works only for weights with a common history, such as these two, or runs that start
/// from the same weights; for runs with different seeds, `predict --ensemble` averages probabilities.
/// If the average has a higher loss than every run, nothing is written.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folders of the runs; RUN@last is the latest checkpoint instead of the best
    #[arg(value_name = "RUN", required = true, num_args = 2.., value_hint = ValueHint::DirPath)]
    runs: Vec<PathBuf>,
    /// Folder of the new run
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    run_dir: PathBuf,
    /// Write the average even if its loss is higher than that of every run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    if args.runs.len() < 2 {
        return Err(Usage("an average needs at least two runs or checkpoints".to_owned()).into());
    }
    RunDir::check_free(&args.run_dir)?;
    let sources = args.runs.iter().map(|path| ParentRun::open(path));
    let sources: Vec<ParentRun> = sources.collect::<Result<_, _>>()?;
    let config = || Ok(load_config(Some(&sources[0].dir.resolved_config()), &[])?);
    let runtime = args.machine.runtime(Work::Decode, config, ui)?;
    let load = |source: &ParentRun| {
        let (threads, device) = (runtime.threads, &runtime.device);
        load_model(
            &source.dir,
            source.checkpoint,
            NonFinite::Reject,
            threads,
            device,
        )
    };
    let first = &sources[0];
    let mut average = load(first)?;
    let OpenSplit { source, split, .. } =
        open_split(&first.dir, &average.config, Some(Split::Val), None)?;
    let measure =
        |trained: &mut Trained| evaluate(&mut trained.model, &*source, split, &trained.codec);

    let mut measured: Vec<(String, Evaluation)> = Vec::new();
    let mut mean = MeanWeights::default();
    for (source, path) in sources.iter().zip(&args.runs) {
        let mut trained = load(source)?;
        check_alike((first.dir.path(), &average.codec), (path, &trained.codec))?;
        measured.push((path.display().to_string(), measure(&mut trained)?));
        mean.add(&trained, path).map_err(|error| match error {
            Error::Start { .. } => {
                Usage(format!("{error}\n  try: {}", ensemble(&args.runs[0], path))).into()
            }
            error => anyhow::Error::from(error),
        })?;
    }
    mean.write(&average)?;
    let of_average = measure(&mut average)?;
    let loss = of_average.free.loss();
    let is_worse = measured.iter().all(|(_, one)| one.free.loss() < loss);
    measured.push(("average".to_owned(), of_average));
    ui.data(&table(&measured).text())?;
    if is_worse && !args.force {
        return Err(Hinted {
            what: "the average has a higher loss than every run; nothing was written".to_owned(),
            hint: format!(
                "{}; `{} --force` writes it",
                ensemble(&args.runs[0], &args.runs[1]),
                command_line()
            ),
        }
        .into());
    }

    let config = average.config.clone();
    let inputs = reopen_data(&first.dir, &config, None)?;
    let mut trainer = Trainer::with_data(config, inputs, runtime.threads, &runtime.device)?;
    let mut identity = new_identity(&args.run_dir);
    identity.parent = Some(start_from(&mut trainer, first, &average, ui)?);
    let names: Vec<String> = args.runs.iter().map(|path| quote(path)).collect();
    let given = format!(
        "# The average of the weights of {}.\n{}",
        names.join(" "),
        trainer.config().to_toml()?
    );
    let run = Run::create_as(&args.run_dir, trainer, &given, &runtime, &identity)?;
    run.save()?;
    ui.message(format!("wrote the average to {}", args.run_dir.display()));
    Ok(0)
}

/// A hint for models whose weights cannot be averaged.
fn ensemble(run: &Path, other: &Path) -> String {
    format!(
        "`{} predict {} --ensemble {}` averages probabilities instead",
        program(),
        quote(run),
        quote(other)
    )
}

fn table(measured: &[(String, Evaluation)]) -> Table {
    let column = |of: fn(&Evaluation) -> String| measured.iter().map(move |(_, one)| of(one));
    Table::new()
        .column("run", measured.iter().map(|(name, _)| name))
        .column("val loss", column(|one| format!("{:.4}", one.free.loss())))
        .column(
            "token accuracy",
            column(|one| percent(one.free.token_accuracy())),
        )
        .column("exact match", column(|one| percent(one.free.exact_match())))
}
