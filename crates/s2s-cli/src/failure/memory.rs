//! Hints if the memory of a GPU is too small: commands that need less of it.

use std::num::NonZeroUsize;
use std::path::Path;

use s2s_runlog::{Identity, RunDir, read_json};
use s2s_train::{Error, ExperimentConfig, Precision, Runtime, Work};

use super::{Hinted, text_set, train_error};
use crate::shell::{command_line_with, program, quote};

/// Adds to an error of training what the run needs to go on, if it ran out of memory. `location` is where the text is if
/// it has moved.
pub(crate) fn in_run(
    error: anyhow::Error,
    dir: &RunDir,
    config: &ExperimentConfig,
    runtime: &Runtime,
    location: Option<&Path>,
) -> anyhow::Error {
    let Some(Error::OutOfMemory { during, .. }) = train_error(&error) else {
        return error;
    };
    let batch = match during {
        Some(Work::Train) => format!(" with train.batch_size = {}", config.train.batch_size),
        Some(Work::Decode) => format!(
            " with train.eval_batch_size = {}",
            config.train.eval_batch_size
        ),
        None => String::new(),
    };
    let what = format!("run {} stopped{batch}", dir.path().display());
    let hint = less_for_run(*during, dir.path(), config, &runtime.device_name, location);
    error.context(Hinted { what, hint })
}

/// The same for a command that reads batches of a size that its `--batch-size` sets.
pub(crate) fn in_batches(error: anyhow::Error, batch_size: NonZeroUsize) -> anyhow::Error {
    let half = batch_size.get() / 2;
    if half == 0 || !matches!(train_error(&error), Some(Error::OutOfMemory { .. })) {
        return error;
    }
    let what = format!("batches of {batch_size} sequences are too large");
    let command = command_line_with("--batch-size", &half.to_string());
    error.context(Hinted {
        what,
        hint: format!("`{command}`"),
    })
}

/// The hint for any other command.
pub(super) fn on_cpu() -> String {
    format!("`{}`", command_line_with("--device", "cpu"))
}

/// Commands that continue a run in less memory, or train it with smaller batches.
fn less_for_run(
    during: Option<Work>,
    run: &Path,
    config: &ExperimentConfig,
    device: &str,
    location: Option<&Path>,
) -> String {
    let train = &config.train;
    let (program, folder) = (program(), quote(run));
    let data = location.map_or(String::new(), |path| format!(" --data {}", quote(path)));
    let precision = match train.precision {
        Precision::Bf16 => " --set train.precision=f32", // there is no other on the CPU
        Precision::F32 | Precision::F16 => "",
    };
    let on_cpu = format!(
        "`{program} resume {folder} --device cpu{precision}{data}` continues this run on the CPU"
    );
    let half = |n: NonZeroUsize| (n.get() > 1).then(|| n.get().div_ceil(2));
    match during {
        Some(Work::Train) => match half(train.batch_size) {
            Some(half) => format!(
                "`{program} train --config {} --set train.batch_size={half} --set \
                 train.accumulation_steps={}{}{} --device {device}` trains a new run with twice as many batches of half \
                 the size per step; {on_cpu}",
                quote(&run.join("config.resolved.toml")),
                2 * train.accumulation_steps.get(),
                text_set(run),
                from(run),
            ),
            None => on_cpu,
        },
        Some(Work::Decode) => match half(train.eval_batch_size) {
            Some(half) => format!(
                "`{program} resume {folder} --set train.eval_batch_size={half} --device {device}{data}` continues this run"
            ),
            None => on_cpu,
        },
        None => on_cpu,
    }
}

/// The option with the weights that a run started from, if it did.
fn from(run: &Path) -> String {
    let identity = RunDir::open(run).and_then(|dir| read_json::<Identity>(dir.identity()));
    match identity.ok().and_then(|identity| identity.parent) {
        Some(parent) if ["best", "last"].contains(&&*parent.checkpoint) => {
            let checkpoint = format!("{}@{}", parent.path, parent.checkpoint);
            format!(" --from {}", quote(Path::new(&checkpoint)))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use s2s_train::load_config;

    use super::*;
    use crate::Cli;
    use crate::failure::classify;

    fn config(sets: &[&str]) -> ExperimentConfig {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        load_config(None, &sets).unwrap()
    }

    /// The commands of the hint for a run in `my runs/a` on the second GPU. All of them are valid.
    fn commands(during: Option<Work>, sets: &[&str], location: Option<&Path>) -> Vec<String> {
        let run = Path::new("my runs/a");
        let hint = less_for_run(during, run, &config(sets), "cuda:1", location);
        let quoted: Vec<&str> = hint.split('`').skip(1).step_by(2).collect();
        let commands = quoted.iter().map(|command| {
            let options = command.strip_prefix(&format!("{} ", program())).unwrap();
            let words = options.replace("'my runs", "my_runs").replace('\'', "");
            Cli::try_parse_from(["s2s"].into_iter().chain(words.split(' ')))
                .unwrap_or_else(|error| panic!("{command}: {error}"));
            options.to_owned()
        });
        commands.collect()
    }

    const ON_CPU: &str = "resume 'my runs/a' --device cpu";

    #[test]
    fn a_step_without_memory_is_repeated_with_half_the_batch_twice() {
        let sets = ["train.batch_size=63", "train.accumulation_steps=3"];
        let found = commands(Some(Work::Train), &sets, None);
        let train = "train --config 'my runs/a/config.resolved.toml' --set train.batch_size=32 \
                     --set train.accumulation_steps=6 --device cuda:1";
        assert_eq!(found, [train, ON_CPU]);
        let one = ["train.batch_size=1"];
        assert_eq!(commands(Some(Work::Train), &one, None), [ON_CPU]);
    }

    #[test]
    fn an_evaluation_without_memory_is_repeated_with_half_the_batch() {
        let sets = ["train.eval_batch_size=256"];
        let found = commands(Some(Work::Decode), &sets, Some(Path::new("text.tsv")));
        let resume =
            "resume 'my runs/a' --set train.eval_batch_size=128 --device cuda:1 --data text.tsv";
        assert_eq!(found, [resume]);
    }

    #[test]
    fn a_run_in_bf16_continues_on_the_cpu_in_f32() {
        let found = commands(None, &["train.precision=bf16"], None);
        assert_eq!(found, [format!("{ON_CPU} --set train.precision=f32")]);
    }

    #[test]
    fn a_command_without_memory_is_repeated_with_half_the_batch_or_on_the_cpu() {
        let out_of_memory = || -> anyhow::Error {
            let error = candle_core::Error::msg("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"..\")");
            Error::from(error).into()
        };
        let of_batches = |size| {
            let error = in_batches(out_of_memory(), NonZeroUsize::new(size).unwrap());
            assert!(
                format!("{error:#}").contains("CUDA_ERROR_OUT_OF_MEMORY"),
                "{error:#}"
            );
            classify(&error)
        };
        let ends_with = |(code, hint): (u8, Option<String>), end: &str| {
            assert_eq!(code, super::super::OTHER);
            assert!(
                hint.as_ref().is_some_and(|hint| hint.ends_with(end)),
                "{hint:?}"
            );
        };
        ends_with(of_batches(64), " --batch-size 32`");
        ends_with(of_batches(1), " --device cpu`");
        ends_with(classify(&out_of_memory()), " --device cpu`");

        let other = in_batches(Error::NotText.into(), NonZeroUsize::MAX);
        assert_eq!(classify(&other), classify(&Error::NotText.into()));
    }
}
