//! `s2s train`.

use std::path::{Path, PathBuf};

use s2s_model::NonFinite;
use s2s_runlog::{
    CheckpointName, CorpusRecord, Error as RunLogError, Identity, Parent, RunDir, exists, read_json,
};
use s2s_train::{
    Auto, Difference, Error, ExperimentConfig, Run, Runtime, Trained, Trainer, Work, is_same_text,
    load_config, load_model, new_identity, open_checkpoint,
};

use crate::config::ConfigArgs;
use crate::failure::Usage;
use crate::machine::MachineArgs;
use crate::resume;
use crate::session::{self, LogArgs};
use crate::shell::{program, quote, quote_text};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s train
  s2s train --config configs/tiny.toml --run-dir runs/first
  s2s train --seed 1 --set model.hidden=128 --set train.teacher_forcing.ratio=1.0
  s2s train --name wide --tag baseline --set model.hidden=128
  s2s train --from runs/first --set train.learning_rate=1e-4   start from trained weights
  s2s train --run-dir runs/job --resume-or-start               for a job script that is repeated";

/// Train a model
///
/// Writes configuration, metrics, TensorBoard log, checkpoints and plots to the run folder. Ctrl-C,
/// SIGTERM, SIGHUP and SIGUSR1 save and stop; `s2s resume` then continues to the same bytes as an
/// uninterrupted run. The final report goes to standard output.
///
/// On a terminal, a dashboard shows curves, attention and wrong predictions: `q` saves and stops, space
/// freezes it, `1` to `4` select a sample, `?` shows help. With --plain, with TERM=dumb, in the background
/// or if a standard stream is not a terminal, prints a line per evaluation instead.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Run folder; must be new or empty [default: in runs/, after the configuration file and what
    /// differs from it, such as runs/tiny-hidden=32-seed0]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Name of the run, and of its folder in runs/ unless --run-dir is given
    #[arg(long, value_name = "NAME", value_parser = folder_name)]
    name: Option<String>,
    /// Label of the run in identity.json; may be repeated
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Start from the weights of a trained run, with a fresh optimizer; without --config, also from
    /// its configuration. Tokens are matched by their text
    #[arg(long, value_name = "RUN[@best|last]")]
    from: Option<PathBuf>,
    /// Resume the run of this folder if it exists and is not finished, do nothing if it is finished,
    /// otherwise start it. The configuration must be the same
    #[arg(long)]
    resume_or_start: bool,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let from = args.from.as_deref().map(ParentRun::open).transpose()?;
    let (config, given) = match &from {
        Some(source) if args.config.config.is_none() => args.config.load_over(&source.dir)?,
        _ => args.config.load_with_text()?,
    };
    let named = args.name.as_ref().map(|name| Path::new("runs").join(name));
    let folder = args.run_dir.clone().or(named);
    if args.resume_or_start {
        let folder = folder
            .clone()
            .unwrap_or_else(|| default_folder(args, &config));
        match RunDir::open(&folder) {
            Ok(dir) => {
                check_same(&dir, &config)?;
                check_parent(&dir, from.as_ref())?;
                let text = config.data.is_text().then(|| config.data.text_path());
                let text = text.filter(|path| exists(path).unwrap_or(false));
                let record = read_json::<CorpusRecord>(dir.corpus()).ok();
                let record = record.filter(|record| !record.files.is_empty());
                if let (Some(path), Some(record)) = (text, record)
                    && !is_same_text(&record, &config.data)
                {
                    return Err(Error::CorpusChanged {
                        path: path.to_owned(),
                        run: dir.path().to_owned(),
                    }
                    .into());
                }
                return resume::run_dir(&dir, None, text, &args.log, &args.machine, ui);
            }
            Err(RunLogError::NoRun { .. } | RunLogError::NotARun { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let runtime = args
        .machine
        .runtime(Work::Train, || Ok(config.clone()), ui)?;
    let mut start = NewRun {
        config,
        given,
        from,
        runtime,
        name: args.name.clone(),
        tags: args.tag.clone(),
    };
    let run = match folder {
        Some(folder) => start.create(&folder, ui)?,
        None => start.create_named(default_folder(args, &start.config), ui)?,
    };
    session::run(run, &start.runtime, None, &args.log, ui)
}

/// Checks that a run has the configuration that was requested.
fn check_same(dir: &RunDir, wanted: &ExperimentConfig) -> anyhow::Result<()> {
    let found = load_config(Some(&dir.resolved_config()), &[])?;
    let mut wanted = wanted.clone();
    for (wanted, found) in [
        (&mut wanted.train.epochs, found.train.epochs),
        (&mut wanted.train.eval_every, found.train.eval_every),
    ] {
        *wanted = match wanted {
            Auto::Auto => found, // any number will do
            Auto::Value(_) => *wanted,
        };
    }
    let record = read_json::<CorpusRecord>(dir.corpus()).ok();
    if record.is_some_and(|record| is_same_text(&record, &wanted.data)) {
        // The same text may be at another place, or named from another folder.
        let (wanted, found) = (&mut wanted.data, &found.data);
        wanted.folder.clone_from(&found.folder);
        wanted.file.clone_from(&found.file);
        wanted.vocab_file.clone_from(&found.vocab_file);
    }
    let differences = Difference::between(&found, &wanted)?;
    if differences.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = differences
        .iter()
        .map(|pair| {
            let key = &pair.key;
            match &pair.values {
                [found, wanted] if wanted.is_empty() => {
                    format!("{key} is {found} in the run and not set here")
                }
                [found, wanted] if found.is_empty() => {
                    format!("{key} is not set in the run, {wanted} was requested")
                }
                [found, wanted] => format!("{key} is {found} in the run, {wanted} was requested"),
            }
        })
        .collect();
    let mut what = format!(
        "run {} has another configuration: {}",
        dir.path().display(),
        list.join("; ")
    );
    if differences.iter().all(Difference::is_resumable) {
        let is_length =
            |pair: &Difference| ["train.epochs", "train.max_steps"].contains(&pair.key.as_str());
        let schedules = match differences.iter().any(is_length) {
            true => wanted.schedules(),
            false => Vec::new(),
        };
        let changes = differences.iter().filter_map(|pair| {
            let value = match &pair.values[1][..] {
                "" if pair.key == "train.schedule.steps" => "0", // the whole run
                "" => return None,                               // another kind has no such key
                value => value,
            };
            Some(format!("{}={value}", pair.key))
        });
        let all = changes.chain(schedules.into_iter().map(str::to_owned));
        let sets = all.map(|set| format!(" --set {}", quote_text(&set)));
        what += &format!(
            "\n  try: `{} resume {}{}` changes the run",
            program(),
            quote(dir.path()),
            sets.collect::<String>()
        );
    }
    Err(Usage(what).into())
}

/// `runs/tiny-hidden=32-seed0`: after the configuration file, the keys that --set changes, and the seed.
fn default_folder(args: &Args, config: &ExperimentConfig) -> PathBuf {
    let file = args.config.config.as_deref().or(args.from.as_deref());
    let file = file.filter(|path| !is_descriptor(path));
    let stem = file.and_then(Path::file_stem).unwrap_or("default".as_ref());
    let mut name = stem.to_string_lossy().into_owned();
    if args.config.config.is_none() && args.from.is_some() {
        let run = name.split('@').next().unwrap_or(&name);
        name = format!("from-{run}");
    }
    for (key, value) in args.config.changes() {
        name += &format!("-{key}={value}");
    }
    // A file name has at most 255 bytes, and a run may get a number.
    let mut name: String = name.chars().map(plain).take(MAX_NAME).collect();
    name += &format!("-seed{}", config.seed);
    Path::new("runs").join(name)
}

/// Whether the path names an open file of the process, as the shell's `<(command)` does.
fn is_descriptor(path: &Path) -> bool {
    let is_process =
        path.starts_with("/proc") && path.components().any(|part| part.as_os_str() == "fd");
    path.starts_with("/dev/fd") || path == Path::new("/dev/stdin") || is_process
}

/// Maximum number of characters of a default name, without its seed.
const MAX_NAME: usize = 120;

/// The character, or `_` for one that file names or shells treat specially.
fn plain(c: char) -> char {
    match c {
        c if c.is_ascii_alphanumeric() || "-+=._".contains(c) => c,
        _ => '_',
    }
}

/// Parses --name: the name of a folder.
fn folder_name(name: &str) -> Result<String, String> {
    let is_plain =
        !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(|c| plain(c) == c);
    match is_plain && !name.starts_with(['.', '-']) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "a name has 1 to {MAX_NAME} characters of a-z, A-Z, 0-9 and -+=._ and does not start with \
             `.` or `-`"
        )),
    }
}

/// A run whose weights another run starts from.
pub(crate) struct ParentRun {
    pub(crate) dir: RunDir,
    pub(crate) checkpoint: CheckpointName,
}

/// Checks that a run started from the weights that were requested, or from none.
fn check_parent(dir: &RunDir, from: Option<&ParentRun>) -> anyhow::Result<()> {
    let identity = |dir: &RunDir| read_json::<Identity>(dir.identity()).ok();
    let parent = identity(dir).and_then(|identity| identity.parent);
    let parent = parent.filter(|parent| from.is_some() || parent.id.is_some());
    let is_same = match (&parent, from) {
        (None, None) => true,
        (Some(parent), Some(from)) => {
            let id = identity(&from.dir).map(|identity| identity.id);
            parent.id == id && parent.checkpoint == from.checkpoint.name()
        }
        (Some(_), None) | (None, Some(_)) => false,
    };
    if is_same {
        return Ok(());
    }
    let began = match parent {
        Some(parent) => format!("from {}@{}", parent.path, parent.checkpoint),
        None => "from random parameters".to_owned(),
    };
    let wanted = match from {
        Some(from) => format!(
            "--from {}@{}",
            from.dir.path().display(),
            from.checkpoint.name()
        ),
        None => "no --from".to_owned(),
    };
    let run = dir.path().display();
    Err(Usage(format!(
        "run {run} started {began}, but the command has {wanted}\n  try: another --run-dir, for a new run"
    ))
    .into())
}

impl ParentRun {
    /// Opens `RUN`, `RUN@best` or `RUN@last`.
    pub(crate) fn open(text: &Path) -> s2s_train::Result<Self> {
        let (dir, named) = open_checkpoint(text)?;
        let checkpoint = named.unwrap_or(CheckpointName::Best);
        Ok(Self { dir, checkpoint })
    }
}

/// What a new run starts with.
struct NewRun {
    config: ExperimentConfig,
    given: String,
    from: Option<ParentRun>,
    runtime: Runtime,
    name: Option<String>,
    tags: Vec<String>,
}

impl NewRun {
    fn create(&mut self, folder: &Path, ui: &Ui) -> s2s_train::Result<Run> {
        RunDir::check_free(folder)?; // before the data are read
        let (threads, device) = (self.runtime.threads, &self.runtime.device);
        let mut trainer = Trainer::new(self.config.clone(), threads, device)?;
        let mut identity = new_identity(folder);
        identity.name = self.name.clone().unwrap_or(identity.name);
        identity.tags = self.tags.clone();
        if let Some(source) = &self.from {
            let reject = NonFinite::Reject;
            let trained = load_model(&source.dir, source.checkpoint, reject, threads, device)?;
            identity.parent = Some(start_from(&mut trainer, source, &trained, ui)?);
        }
        Run::create_as(folder, trainer, &self.given, &self.runtime, &identity)
    }

    /// Creates a run with the first unused name of `runs/tiny-seed0`, `runs/tiny-seed0-2` and so on.
    fn create_named(&mut self, first: PathBuf, ui: &Ui) -> s2s_train::Result<Run> {
        let name = first
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut path = first;
        let mut number = 1;
        loop {
            if !exists(&path)? {
                match self.create(&path, ui) {
                    // Another process has just taken this name.
                    Err(Error::RunLog(RunLogError::Exists { .. } | RunLogError::Busy { .. })) => {}
                    result => return result,
                }
            }
            number += 1;
            path.set_file_name(format!("{name}-{number}"));
        }
    }
}

/// Copies the weights of a run, and reports the tokens that do not match.
pub(crate) fn start_from(
    trainer: &mut Trainer<s2s_model::Seq2Seq>,
    source: &ParentRun,
    trained: &Trained,
    ui: &Ui,
) -> s2s_train::Result<Parent> {
    let dir = &source.dir;
    let transfer = trainer.start_from(trained, dir.path())?;
    let n_tokens = trainer.data().source.vocabulary().size();
    ui.message(format!(
        "from    {}, checkpoint {}, step {}; {} of {n_tokens} tokens have weights",
        dir.path().display(),
        source.checkpoint.name(),
        trained.step,
        transfer.n_matched,
    ));
    for (what, words) in [
        ("not in that run, they start untrained", &transfer.new),
        (
            "only in that run, their weights are not used",
            &transfer.unused,
        ),
    ] {
        if !words.is_empty() {
            ui.message(format!("        {} {what}: {}", words.len(), listed(words)));
        }
    }
    let path = std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().to_owned());
    let identity: Option<Identity> = read_json(dir.identity()).ok();
    Ok(Parent {
        path: path.display().to_string(),
        id: identity.map(|identity| identity.id),
        checkpoint: source.checkpoint.name().to_owned(),
        step: trained.step,
        n_matched: transfer.n_matched,
        n_new: transfer.new.len() as u64,
        n_unused: transfer.unused.len() as u64,
    })
}

/// The first words of a list, quoted.
fn listed(words: &[String]) -> String {
    const MAX_SHOWN: usize = 10;
    let shown: Vec<String> = words
        .iter()
        .take(MAX_SHOWN)
        .map(|word| format!("{word:?}"))
        .collect();
    let more = if words.len() > MAX_SHOWN { ", ..." } else { "" };
    shown.join(", ") + more
}
