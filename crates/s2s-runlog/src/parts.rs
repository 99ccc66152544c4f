//! The parts of a run folder that a run can do without, and their sizes.

use std::path::{Path, PathBuf};

use crate::atomic::writing;
use crate::error::reading;
use crate::{CheckpointName, Result, RunDir, RunLock, fs};

/// Files of a run that can be removed to free disk space; see [`RunDir::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `plots/`; `s2s plot` draws them again.
    Plots,
    /// `report.html`; `s2s report` writes it again.
    Page,
    /// TensorBoard events, `events.out.*`: they cannot be written again.
    Events,
    /// `checkpoints/last/`: without it the run cannot be resumed or extended.
    Last,
    /// `checkpoints/best/`: without it the run cannot be evaluated or used.
    Best,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [
        Self::Plots,
        Self::Page,
        Self::Events,
        Self::Last,
        Self::Best,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plots => "plots",
            Self::Page => "page",
            Self::Events => "events",
            Self::Last => "last",
            Self::Best => "best",
        }
    }

    /// What is lost without it, as text for a user.
    pub fn loss(self) -> &'static str {
        match self {
            Self::Plots => "nothing: `s2s plot` draws them again",
            Self::Page => "nothing: `s2s report` writes it again",
            Self::Events => "the TensorBoard log",
            Self::Last => "the run cannot be resumed or extended",
            Self::Best => "the run cannot be evaluated or used for predictions",
        }
    }

    /// The files and folders of this part that exist.
    fn paths(self, run: &RunDir) -> Result<Vec<PathBuf>> {
        let paths = match self {
            Self::Plots => vec![run.plots()],
            Self::Page => vec![run.report()],
            Self::Last => vec![run.checkpoint(CheckpointName::Last)],
            Self::Best => vec![run.checkpoint(CheckpointName::Best)],
            Self::Events => {
                let names = fs::names(run.path()).map_err(reading(run.path()))?;
                let is_events =
                    |name: &std::ffi::OsString| name.to_string_lossy().starts_with("events.out.");
                let names = names.into_iter().filter(is_events);
                names.map(|name| run.path().join(name)).collect()
            }
        };
        let exists = |path: &PathBuf| matches!(fs::kind_at(path), Ok(Some(_)));
        Ok(paths.into_iter().filter(exists).collect())
    }
}

impl RunDir {
    /// Renames the files of the evaluation by length called `name`, so that another one of this name can
    /// be made. They get the ending `.old-1`, or the next number that no file has.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write), and those of [`RunLock::check`].
    pub fn set_lengths_aside(&self, name: &str, lock: &RunLock) -> Result<()> {
        lock.check()?;
        let record = self.lengths(Some(name));
        let paths = [
            record.with_extension("csv"),
            self.lengths_timing(Some(name)),
            record, // last: an interrupted call is repeated as long as it exists
        ];
        let aside = |path: &Path, number: usize| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".old-{number}"));
            PathBuf::from(name)
        };
        let exists = |path: &Path| !matches!(fs::kind_at(path), Ok(None));
        let is_free = |number: &usize| paths.iter().all(|path| !exists(&aside(path, *number)));
        let number = (1..).find(is_free).unwrap_or(1);
        for path in paths.iter().filter(|path| exists(path)) {
            fs::rename(path, &aside(path, number)).map_err(writing(path))?;
        }
        Ok(())
    }

    /// Size of a part in bytes; 0 if it does not exist.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read).
    pub fn size_of(&self, part: Part) -> Result<u64> {
        let sizes = part.paths(self)?.into_iter().map(|path| size(&path));
        sizes.sum()
    }

    /// Size of all files of the folder in bytes.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read).
    pub fn size(&self) -> Result<u64> {
        size(self.path())
    }

    /// Removes a part, if it exists. The [lock](RunDir::lock) ensures that no other process is writing it.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write), [`Error::Read`](crate::Error::Read), and those of
    /// [`RunLock::check`].
    pub fn remove(&self, part: Part, lock: &RunLock) -> Result<()> {
        lock.check()?;
        for path in part.paths(self)? {
            let removed = match fs::is_dir(&path) {
                true => fs::remove_dir(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(writing(&path))?;
        }
        Ok(())
    }
}

fn size(path: &Path) -> Result<u64> {
    if fs::kind_at(path).map_err(reading(path))? != Some(fs::FOLDER) {
        return fs::len(path).map_err(reading(path));
    }
    let names = fs::names(path).map_err(reading(path))?;
    names.into_iter().map(|name| size(&path.join(name))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_removed_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path().join("run")).unwrap();
        let lock = run.lock().unwrap();
        let last = run.checkpoint(CheckpointName::Last);
        for (path, content) in [
            (run.plots().join("loss.svg"), "12345"),
            (run.report(), "123"),
            (run.path().join("events.out.tfevents.1.a"), "12"),
            (last.join("params.safetensors"), "1234"),
            (
                run.checkpoint(CheckpointName::Best)
                    .join("params.safetensors"),
                "1",
            ),
            (run.metrics(), "{}\n"),
        ] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let sizes = || Part::ALL.map(|part| run.size_of(part).unwrap());
        assert_eq!(sizes(), [5, 3, 2, 4, 1]);
        let total = run.size().unwrap();
        for part in [Part::Plots, Part::Page, Part::Events, Part::Last] {
            run.remove(part, &lock).unwrap();
            run.remove(part, &lock).unwrap(); // there is nothing left to remove
        }
        assert_eq!(sizes(), [0, 0, 0, 0, 1]);
        assert_eq!(run.size().unwrap(), total - 14);
        assert!(run.metrics().is_file());
    }
}
