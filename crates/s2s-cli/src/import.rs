//! `s2s import`.

use std::path::{Path, PathBuf};

use clap::ValueHint;
use reverse_data::Tokenization;
use s2s_model::{LoadOptions, Loaded, Renames};
use s2s_runlog::{RunDir, exists, is_folder};
use s2s_train::{
    Data, ExperimentConfig, Trainer, Work, open_data, open_data_with, parse_config, read_vocabulary,
};
use s2s_weights::{Found, create_run, read_renames};

use crate::config::ConfigArgs;
use crate::failure::Usage;
use crate::machine::MachineArgs;
use crate::shell::{command_line_with_path, program, quote};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s import reverser/model.safetensors --run-dir runs/reverser
  s2s import weights.pt --config mine.toml --run-dir runs/mine
  s2s import weights.pt --config mine.toml --rename configs/names/notebook.toml --run-dir runs/mine

Names that differ, in a file for --rename:
  [prefix]
  \"encoder.gru.\" = \"encoder.rnn.\"
  [name]
  \"decoder.fc.weight\" = \"decoder.output.weight\"
  \"decoder.attn.weight\" = [\"attention.query.weight\", \"attention.key.weight\"]   # columns, from the left
  \"decoder.unused\" = []                                                      # not used";

/// Make a run of weights from another program
///
/// Reads safetensors, or a state dict that `torch.save` wrote; no code in it is run. The run can be
/// evaluated, queried, and trained: `resume` trains it with its configuration, `train --from` starts
/// another run from it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File of weights: .safetensors, .pt or .pth
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Run folder; must be new or empty
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    run_dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// File with the names that differ
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    rename: Option<PathBuf>,
    /// Vocabulary of a model of text, one token per line in the order of the token IDs, without special
    /// tokens [default: from the file, if s2s exported it]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    vocab: Option<PathBuf>,
    /// Convert numbers of another precision
    #[arg(long)]
    cast: bool,
    /// Load what is there, and list what is missing: the rest keeps its initial values
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    check_file(&args.file)?;
    RunDir::check_free(&args.run_dir)?;
    let found = Found::read(&args.file)?;
    let (config, given) = configuration(args, &found)?;
    let rename = match &args.rename {
        Some(path) => read_renames(path)?,
        None => Renames::default(),
    };
    let runtime = args
        .machine
        .runtime(Work::Decode, || Ok(config.clone()), ui)?;
    let data = data(args, &config, &found)?;
    let is_without_text = data
        .corpus
        .as_ref()
        .is_some_and(|corpus| corpus.files.is_empty());
    let trainer = Trainer::with_data(config, data, runtime.threads, &runtime.device)?;
    let options = LoadOptions {
        rename,
        cast: args.cast,
        partial: args.partial,
        ..LoadOptions::default()
    };
    let loaded = found.load_into(trainer.model().params(), &options)?;
    let run = create_run(&args.run_dir, trainer, &given, &runtime, &args.file)?;
    let n_parameters = run.trainer().model().params().iter().len();
    report(&loaded, n_parameters, ui);
    if let Some(path) = args
        .rename
        .as_ref()
        .filter(|_| !loaded.unmatched.is_empty())
    {
        ui.warning(format!(
            "{}: no tensor matches {}",
            path.display(),
            loaded.unmatched.join(", ")
        ));
    }
    let data = &run.trainer().config().data;
    let (key, text) = match data.file.as_os_str().is_empty() {
        true => ("data.folder", &data.folder),
        false => ("data.file", &data.file),
    };
    let (mut eval_data, mut train_data) = (String::new(), String::new());
    if is_without_text {
        ui.message(format!(
            "        {} does not exist, so evaluation needs --data, and training needs --data or {key}",
            text.display()
        ));
        eval_data = " --data PATH".to_owned();
        train_data = format!(" --set {key}=PATH");
    }
    let (s2s, run) = (program(), quote(&args.run_dir));
    ui.data(&format!(
        "{s2s} eval {run}{eval_data}\n{s2s} predict {run}\n{s2s} train --from {run}{train_data}\n"
    ))?;
    Ok(0)
}

/// Checks that the weights are not a folder, such as that of an export.
fn check_file(file: &Path) -> anyhow::Result<()> {
    if !is_folder(file) {
        return Ok(());
    }
    let weights = file.join("model.safetensors");
    let hint = match exists(&weights)? {
        true => format!("`{}`", command_line_with_path(file, &weights)),
        false => "a file of weights: .safetensors, .pt or .pth".to_owned(),
    };
    let file = file.display();
    Err(Usage(format!(
        "{file} is a folder, not a file of weights\n  try: {hint}"
    ))
    .into())
}

/// The configuration that was given, or the one in the file, and its text.
fn configuration(args: &Args, found: &Found) -> anyhow::Result<(ExperimentConfig, String)> {
    match (&args.config.config, found.description()) {
        (None, Some(description)) => {
            let text = description.experiment.to_toml()?;
            let config = parse_config(&args.file, text.clone(), &args.config.sets())?;
            Ok((config, text))
        }
        (None, None) => {
            let why = match found.format() {
                None => "has no configuration, since s2s did not export it".to_owned(),
                Some(format) => format!(
                    "is an export in format {format} by another version of s2s; this version cannot read its \
                     configuration"
                ),
            };
            let what = format!(
                "{} {why}\n  try: --config FILE, with the [model] that the weights belong to; `{} config` prints \
                 one to start from",
                args.file.display(),
                program()
            );
            Err(Usage(what).into())
        }
        (Some(_), _) => Ok(args.config.load_with_text()?),
    }
}

/// The data of the configuration. For text, with the vocabulary of the weights.
fn data(args: &Args, config: &ExperimentConfig, found: &Found) -> anyhow::Result<Data> {
    if !config.data.is_text() {
        return match &args.vocab {
            None => Ok(open_data(config)?),
            Some(_) => {
                let what = "--vocab is for text, and symbols of synthetic data are numbers; remove it, or set \
                            data.file";
                Err(Usage(what.to_owned()).into())
            }
        };
    }
    let noted = found.vocabulary()?;
    let tokens = config.data.tokens;
    let vocabulary = match (&args.vocab, noted) {
        (_, _) if tokens == Tokenization::Bytes => None, // all bytes, always
        (Some(path), _) => Some(read_vocabulary(path, tokens)?),
        (None, Some(vocabulary)) => Some(vocabulary),
        (None, None) => {
            let what = format!(
                "{} has no vocabulary\n  try: --vocab FILE, with one token per line; the IDs are 0 for padding, 1 \
                 for <unk>, 2 and so on for these tokens, then BOS and EOS",
                args.file.display()
            );
            return Err(Usage(what).into());
        }
    };
    let longest = found.description().and_then(|description| {
        let (source, target) = description.output_limit.longest()?;
        Some([source.get(), target])
    });
    Ok(open_data_with(config, vocabulary, longest)?)
}

fn report(loaded: &Loaded, n_parameters: usize, ui: &Ui) {
    ui.message(format!(
        "weights {} of {n_parameters} parameters",
        loaded.n_loaded
    ));
    for (what, names) in [
        ("missing, at their initial values", &loaded.missing),
        ("in the file only, not used", &loaded.unused),
    ] {
        if !names.is_empty() {
            ui.message(format!(
                "        {} {what}: {}",
                names.len(),
                names.join(", ")
            ));
        }
    }
}
