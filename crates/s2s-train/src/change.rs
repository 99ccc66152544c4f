//! Changes the configuration of a run between two processes: more steps, another learning rate.

use std::path::{Path, PathBuf};

use reverse_data::Split;
use s2s_model::Seq2Seq;
use s2s_runlog::{ConfigChange, RunDir, RunRecord, RunStatus, read_json, write_file, write_json};
use toml::{Table, Value};

use crate::checkpoint::history;
use crate::config::{ForcingSchedule, ScheduleConfig};
use crate::run::last_checkpoint;
use crate::{
    Auto, Error, ExperimentConfig, Result, Run, Runtime, Trainer, check_unchanged, checkpoint,
    load_config, reopen_data,
};

/// What `resume` changes.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The keys, as `key=value`.
    pub sets: &'a [String],
    /// Whether schedules over the whole run keep their length.
    pub keeps_schedule: bool,
}

/// A key that two configurations have with different values, as TOML; a missing value is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key, such as `train.epochs`.
    pub key: String,
    /// Its values.
    pub values: [String; 2],
}

impl Difference {
    /// All keys that differ, sorted.
    ///
    /// # Errors
    /// If a configuration cannot be written as TOML.
    pub fn between(a: &ExperimentConfig, b: &ExperimentConfig) -> Result<Vec<Self>> {
        let [a, b] = [leaves(a)?, leaves(b)?];
        let mut keys: Vec<&String> = a.iter().chain(&b).map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        let value = |leaves: &[(String, String)], key: &String| {
            let found = leaves.iter().find(|(other, _)| other == key);
            found.map_or_else(String::new, |(_, value)| value.clone())
        };
        let pairs = keys.into_iter().map(|key| Self {
            key: key.clone(),
            values: [value(&a, key), value(&b, key)],
        });
        Ok(pairs
            .filter(|pair| pair.values[0] != pair.values[1])
            .collect())
    }

    /// The change to the second configuration, as `key=value`.
    pub fn set(&self) -> String {
        format!("{}={}", self.key, self.values[1])
    }

    /// Whether `resume` may change the key: neither the model, the data nor the moments depend on it.
    pub fn is_resumable(&self) -> bool {
        let fixed = ["train.batch_size", "train.accumulation_steps"];
        let is_fixed = fixed.contains(&&*self.key) || self.key.starts_with("train.optimizer");
        self.key.starts_with("train.") && !is_fixed
    }
}

impl Run<Seq2Seq> {
    /// Resumes a run, which may be finished, with a changed configuration. Its text is at `location`, or
    /// else where it was. The change is recorded in
    /// `history.jsonl` and `config.resolved.toml`.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] for keys that would change the model or the data;
    /// [`Error::ScheduleLength`] if the change would silently move a schedule over the whole run;
    /// [`Error::TooShort`] if the run has more steps already; [`Error::EndedFirst`] if the other of
    /// `train.epochs` and `train.max_steps` allows no further step; those of [`Run::resume`]. Nothing is
    /// changed then.
    pub fn resume_changed(
        path: impl Into<PathBuf>,
        change: &Change<'_>,
        location: Option<&Path>,
        runtime: &Runtime,
    ) -> Result<Self> {
        let dir = RunDir::open(path)?;
        let lock = dir.lock()?;
        check_unchanged(&dir)?;
        let old = load_config(Some(&dir.resolved_config()), &[])?;
        let data = reopen_data(&dir, &old, location)?;
        let steps_per_epoch = old.steps_per_epoch(data.source.n_batches(Split::Train));
        let mut new = changed(&dir, &old, change, steps_per_epoch)?;
        let source = &data.source;
        new.resolve(source.n_samples(Split::Train), source.n_samples(Split::Val));
        if new == old {
            drop(lock);
            return Self::resume_at(dir.path(), location, runtime);
        }
        let (done, start) = match last_checkpoint(&dir)? {
            None => (0, 0),
            Some(found) => {
                let state = checkpoint::load_state(&found)?;
                (state.step, state.attempt.map_or(0, |attempt| attempt.start))
            }
        };
        let total = new.total_steps(steps_per_epoch).saturating_add(start);
        if total < done {
            return Err(Error::TooShort { total, done });
        }
        if total == done
            && let Some((key, limit)) = ended_first(&old, &new, steps_per_epoch)
        {
            let schedules = match change.keeps_schedule {
                true => Vec::new(),
                false => new.schedules(),
            };
            let sets = schedules.into_iter().map(str::to_owned);
            return Err(Error::EndedFirst {
                key,
                limit,
                done,
                sets: [format!("{key}=0")].into_iter().chain(sets).collect(),
            });
        }
        let entry = ConfigChange {
            step: done,
            set: Difference::between(&old, &new)?
                .iter()
                .map(Difference::set)
                .collect(),
            before: checkpoint::fingerprint(&old, data.corpus.as_ref())?,
            after: checkpoint::fingerprint(&new, data.corpus.as_ref())?,
        };
        checkpoint::record_text(&dir, &old, data.corpus.as_ref())?;
        let trainer = Trainer::with_data(new.clone(), data, runtime.threads, &runtime.device)?;
        let mut changes = history(&dir)?;
        changes.push(entry.clone());
        let mut run = Self::restored(dir, lock, trainer, &changes)?;
        run.record_change(&entry, &new)?;
        run.trainer_mut().reopen();
        Ok(run)
    }

    /// Makes a change durable. A process that is killed in between leaves a run with the old
    /// configuration or with the new one, and all its checkpoints belong to both.
    fn record_change(&self, entry: &ConfigChange, new: &ExperimentConfig) -> Result<()> {
        let dir = self.dir();
        self.lock().check()?;
        checkpoint::append_change(dir, entry)?;
        if let Ok(record) = read_json::<RunRecord>(dir.run()) {
            // Otherwise the run would still count as finished.
            let record = RunRecord {
                status: RunStatus::Interrupted,
                test: None,
                ..record
            };
            write_json(dir.run(), &record)?;
        }
        Ok(write_file(
            dir.resolved_config(),
            new.to_toml()?.as_bytes(),
        )?)
    }
}

/// The configuration after a change, if the change is allowed.
fn changed(
    dir: &RunDir,
    old: &ExperimentConfig,
    change: &Change<'_>,
    steps_per_epoch: Option<u64>,
) -> Result<ExperimentConfig> {
    let mut new = load_config(Some(&dir.resolved_config()), change.sets)?;
    let differences = Difference::between(old, &new)?;
    let unchangeable = differences.iter().filter(|key| !key.is_resumable());
    let keys: Vec<String> = unchangeable
        .map(|difference| difference.key.clone())
        .collect();
    if !keys.is_empty() {
        return Err(Error::Unchangeable {
            run: dir.path().to_owned(),
            keys,
            sets: differences.iter().map(Difference::set).collect(),
        });
    }
    let [before, after] = [old, &new].map(|config| config.total_steps(steps_per_epoch));
    if before == after {
        return Ok(new);
    }
    if change.keeps_schedule {
        keep_schedules(&mut new, before);
        return Ok(new);
    }
    let is_set = |schedule: &str| {
        let (table, _) = schedule.rsplit_once('.').unwrap_or((schedule, ""));
        let mut sets = change.sets.iter();
        sets.any(|set| set.trim_start().starts_with(table))
    };
    let mut schedules = new.schedules().into_iter();
    match schedules.find(|schedule| !is_set(schedule)) {
        None => Ok(new),
        Some(schedule) => Err(Error::ScheduleLength {
            schedule,
            before,
            after,
        }),
    }
}

/// The limit of the number of steps, and its key, that a change of the other limit leaves in force.
fn ended_first(
    old: &ExperimentConfig,
    new: &ExperimentConfig,
    steps_per_epoch: Option<u64>,
) -> Option<(&'static str, u64)> {
    let [old_epochs, epochs] = [old, new].map(|config| match config.train.epochs {
        Auto::Value(epochs) => epochs,
        Auto::Auto => 0,
    });
    let by_epochs = epochs.saturating_mul(steps_per_epoch?);
    let (old_steps, by_steps) = (old.train.max_steps, new.train.max_steps);
    if epochs != old_epochs && by_steps > 0 && by_epochs > by_steps {
        Some(("train.max_steps", by_steps))
    } else if by_steps != old_steps && epochs > 0 && by_steps > by_epochs {
        Some(("train.epochs", epochs))
    } else {
        None
    }
}

/// Gives schedules over the whole run a length of their own.
fn keep_schedules(config: &mut ExperimentConfig, length: u64) {
    if let ScheduleConfig::Cosine { steps, .. } = &mut config.train.schedule
        && *steps == 0
    {
        *steps = length;
    }
    let forcing = &mut config.train.teacher_forcing;
    if forcing.schedule == ForcingSchedule::Linear && forcing.steps == 0 {
        forcing.steps = length;
    }
}

/// The keys of a configuration with their values.
fn leaves(config: &ExperimentConfig) -> Result<Vec<(String, String)>> {
    let table: Table = config
        .to_toml()?
        .parse()
        .map_err(candle_core::Error::wrap)?;
    let mut leaves = Vec::new();
    collect(&table, "", &mut leaves);
    Ok(leaves)
}

fn collect(table: &Table, prefix: &str, leaves: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => collect(inner, &format!("{key}."), leaves),
            value => leaves.push((key, value.to_string())),
        }
    }
}
