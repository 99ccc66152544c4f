//! R2, R7, R8, R14: damaged and malicious files, changed text, fuzzed input, failing commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use s2s_runlog::{CheckpointName, RunDir, read_checkpoint, write_checkpoint};

use super::process::{
    SHORT, Setup, captured, check_success, exit_code, join_safetensors, messages, run, setup,
    split_safetensors,
};
use super::{Bench, Outcome, data, suite};
use crate::fuzz;

/// The smallest model: its checkpoint has ten thousand bytes.
const SMALLEST: Setup = setup(&[
    "model.embedding=2",
    "model.hidden=2",
    "model.decoder=2",
    "model.attention.units=2",
    "train.max_steps=8",
    "train.eval_every=4",
]);

/// The files of the checkpoint that `resume` reads, in their order.
const FILES: [&str; 3] = ["params.safetensors", "moments.safetensors", "state.json"];

const MANIFEST: &str = "manifest.json";

/// The maximum memory of a process that rejects a checkpoint, beyond the size of the checkpoint.
const MAX_EXTRA_MIB: f64 = 64.0;

/// The maximum time to reject a checkpoint, on a busy machine too: hashing 256 MiB takes a while.
const MAX_TIME: Duration = Duration::from_secs(60);

/// A finished run without its record, so that `resume` reads its last checkpoint; and the content of
/// that checkpoint.
struct Victim<'a> {
    bench: &'a Bench,
    dir: PathBuf,
    last: PathBuf,
    files: Vec<(String, Vec<u8>)>,
}

impl<'a> Victim<'a> {
    fn new(bench: &'a Bench, name: &str) -> Result<Self> {
        let dir = bench.fresh(name)?;
        bench.undisturbed(&dir, SMALLEST)?;
        fs::remove_file(dir.join("run.json"))?;
        let last = RunDir::open(&dir)?.checkpoint(CheckpointName::Last);
        let checkpoint = read_checkpoint(&last)?;
        let files = checkpoint.files();
        let files = files.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        Ok(Self {
            bench,
            files: files.collect(),
            dir,
            last,
        })
    }

    /// Restores the checkpoint, or saves it with one other file and a manifest that matches it.
    fn save(&self, other: Option<(&str, &[u8])>) -> Result<()> {
        if self
            .last
            .symlink_metadata()
            .is_ok_and(|found| !found.is_dir())
        {
            fs::remove_file(&self.last)?;
        }
        let files: Vec<(&str, &[u8])> = self
            .files
            .iter()
            .map(|(name, bytes)| match other {
                Some((other, bytes)) if other == name => (name.as_str(), bytes),
                _ => (name.as_str(), bytes.as_slice()),
            })
            .collect();
        Ok(write_checkpoint(&self.last, &files)?)
    }

    /// Checks that these commands reject the checkpoint, within the limits of time and memory.
    fn check_rejected(&self, commands: &[&str]) -> Result<()> {
        for command in commands {
            self.check(command, 3)?;
        }
        Ok(())
    }

    fn check(&self, command: &str, code: i32) -> Result<()> {
        let mut s2s = captured(&self.bench.s2s);
        s2s.args([command, "-vv", "--threads=1"]).arg(&self.dir);
        if command != "resume" {
            s2s.args(["--checkpoint", "last"]);
        }
        if command == "predict" {
            s2s.arg(
                self.bench
                    .data
                    .source(1, &mut self.bench.draws("source", 0)),
            );
        }
        let started = Instant::now();
        let output = run(&mut s2s)?;
        exit_code(&output, &[code]).with_context(|| command.to_owned())?;
        if started.elapsed() > MAX_TIME {
            bail!("{command} took {:.0} s", started.elapsed().as_secs_f64());
        }
        let size = self.size()? as f64 / f64::from(1 << 20);
        match peak_mib(&messages(&output)) {
            Some(peak) if code != 0 && peak > size + MAX_EXTRA_MIB => {
                bail!("{command} took {peak:.0} MiB for a checkpoint of {size:.0} MiB")
            }
            None if cfg!(target_os = "linux") => bail!("{command} does not report its memory"),
            _ => Ok(()),
        }
    }

    /// Bytes of all files in the checkpoint's folder.
    fn size(&self) -> Result<u64> {
        let Ok(entries) = fs::read_dir(&self.last) else {
            return Ok(0);
        };
        let sizes = entries.map(|entry| Ok(entry?.path().symlink_metadata()?.len()));
        sizes.sum::<Result<u64>>()
    }
}

/// The number of `peak memory 12.5 MiB`, which `-vv` adds at the end.
fn peak_mib(messages: &str) -> Option<f64> {
    let (_, after) = messages.rsplit_once("peak memory ")?;
    after.split_once(" MiB")?.0.parse().ok()
}

/// A change to a byte of a file, or a cut there.
#[derive(Clone, Copy)]
enum Damage {
    Changed,
    Cut,
}

/// A sample of every byte of every file changed, and of every length to which a file can be cut.
pub(super) fn cut_or_changed(bench: &Bench) -> Result<Outcome> {
    let victim = Victim::new(bench, "victim")?;
    let mut trials = Vec::new();
    for name in FILES.iter().chain([&MANIFEST]) {
        let len = fs::metadata(victim.last.join(name))?.len() as usize;
        let both = |at| [Damage::Cut, Damage::Changed].map(|damage| (*name, at, damage));
        trials.extend((0..len).flat_map(both));
    }
    let mut outcome = Outcome {
        note: format!("of {}", trials.len()),
        ..Outcome::default()
    };
    for (name, at, damage) in bench.sample("cut or changed", trials, 400) {
        let path = victim.last.join(name);
        let whole = fs::read(&path)?;
        let mut bytes = whole.clone();
        let how = match damage {
            Damage::Cut => {
                bytes.truncate(at);
                "cut"
            }
            Damage::Changed => {
                bytes[at] ^= 1 << (at % 8);
                "changed"
            }
        };
        fs::write(&path, bytes)?;
        let result = victim.check_rejected(&["eval"]);
        fs::write(&path, whole)?;
        outcome.count(&format!("{name}, {how} at {at}"), result);
    }
    outcome.count("undamaged", victim.check("eval", 0));
    Ok(outcome)
}

/// A file that replaces one of the checkpoint's.
struct Lie {
    name: String,
    file: &'static str,
    bytes: Vec<u8>,
}

fn lies(victim: &Victim<'_>) -> Result<Vec<Lie>> {
    let mut lies = Vec::new();
    let foreign: [(&str, &[u8]); 8] = [
        ("nothing", b""),
        ("a pickle", b"\x80\x02}q\x00X\x07\x00\x00\x00weightsq\x01."),
        (
            "a zip",
            b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl",
        ),
        ("ONNX", b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x80\x01"),
        ("GGUF", b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00"),
        ("HTML", b"<!DOCTYPE html><html><body>404</body></html>"),
        ("zeros", &[0; 4096]),
        ("ones", &[255; 4096]),
    ];
    for file in FILES {
        for (name, bytes) in foreign {
            let (name, bytes) = (format!("{name} as {file}"), bytes.to_vec());
            lies.push(Lie { name, file, bytes });
        }
        let mut draws = victim.bench.draws("random bytes", lies.len());
        let bytes = (0..4096).map(|_| draws.below(256) as u8).collect();
        let name = format!("random bytes as {file}");
        lies.push(Lie { name, file, bytes });
    }
    for file in &FILES[..2] {
        let (_, whole) = victim
            .files
            .iter()
            .find(|(name, _)| name == file)
            .context("a file of a checkpoint")?;
        for (name, bytes) in headers(whole)? {
            let name = format!("{name} in {file}");
            lies.push(Lie { name, file, bytes });
        }
    }
    Ok(lies)
}

/// Safetensors files whose headers are wrong, made from a correct one.
fn headers(whole: &[u8]) -> Result<Vec<(&'static str, Vec<u8>)>> {
    const HUGE: usize = 256 << 20;
    let (header, data) = split_safetensors(whole)?;
    let header = str::from_utf8(header)?;
    let file = |header: &str, data: &[u8]| join_safetensors(header.as_bytes(), data);
    let changed = |from: &str, to: &str| -> Result<Vec<u8>> {
        ensure!(header.contains(from), "no {from} in {header}");
        Ok(file(&header.replacen(from, to, 1), data))
    };
    let name = header.split('"').nth(1).context("a name")?;
    let (quoted, dtype) = (format!("\"{name}\":"), "\"F32\"");
    let (_, entry) = header.split_once(&quoted).context("a tensor")?;
    let (entry, _) = entry.split_once('}').context("a tensor")?;
    let again = format!("{{{quoted}{entry}}},{quoted}");
    let len_without_last = data.len() - 4;
    let not_finite = |number: f32| [&whole[..whole.len() - 4], &number.to_le_bytes()].concat();
    let long = |len: u64, size: usize| {
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.resize(size, b'[');
        bytes
    };
    Ok(vec![
        ("a header of 2^63 bytes", long(1 << 63, 4096)),
        ("a header of 256 MiB", long(HUGE as u64 - 8, HUGE)),
        ("many dimensions", {
            let shape = format!("\"shape\":[{}", "1,".repeat(HUGE / 16));
            changed("\"shape\":[", &shape)?
        }),
        ("many names", {
            let names: String = (0..1_000_000).map(|i| format!("\"n{i}\":{{}},")).collect();
            changed(&quoted, &format!("{names}{quoted}"))?
        }),
        ("more data than tensors", file(header, &vec![0; HUGE])),
        ("the same name twice", changed(&quoted, &again)?),
        ("another name", changed(name, "encoder.other")?),
        ("another type", changed(dtype, "\"I32\"")?),
        ("an unknown type", changed(dtype, "\"F31\"")?),
        (
            "a huge dimension",
            changed("\"shape\":[", "\"shape\":[18446744073709551615,")?,
        ),
        (
            "an offset too far",
            changed("_offsets\":[0,", "_offsets\":[0,9")?,
        ),
        ("missing data", file(header, &data[..len_without_last])),
        ("NaN", not_finite(f32::NAN)),
        ("infinity", not_finite(f32::INFINITY)),
    ])
}

/// Wrong files with a manifest that matches them.
pub(super) fn lying(bench: &Bench) -> Result<Outcome> {
    let victim = Victim::new(bench, "victim")?;
    let mut outcome = Outcome::default();
    for Lie { name, file, bytes } in lies(&victim)? {
        victim.save(Some((file, &bytes)))?;
        let commands: &[&str] = match file {
            "moments.safetensors" => &["resume"], // no other command reads them
            _ => &["eval", "predict", "resume"],
        };
        outcome.count(&name, victim.check_rejected(commands));
    }
    victim.save(None)?;
    outcome.count("undamaged", victim.check("resume", 0));
    outcome.note = format!("with at most {MAX_EXTRA_MIB} MiB beyond the size of the checkpoint");
    Ok(outcome)
}

/// Creates something at a path.
type Make = fn(&Path) -> Result<()>;

/// Anything but a file, or anything but a folder, in a checkpoint.
pub(super) fn no_files(bench: &Bench) -> Result<Outcome> {
    let victim = Victim::new(bench, "victim")?;
    let mut outcome = Outcome::default();
    let things: [(&str, Make); 6] = [
        ("a folder", |path| Ok(fs::create_dir(path)?)),
        ("a FIFO", |path| {
            check_success(&run(captured("mkfifo").arg(path))?)
        }),
        ("a link to nothing", |path| link("nothing", path)),
        ("a loop of links", |path| link(path, path)),
        ("a link to an endless device", |path| {
            link("/dev/zero", path)
        }),
        ("a link to a file", |path| link("state.json.bak", path)),
    ];
    for (thing, make) in things {
        for name in FILES.iter().chain([&MANIFEST, &""]) {
            victim.save(None)?;
            let (what, path) = match *name {
                "" => ("the checkpoint", victim.last.clone()),
                name => (name, victim.last.join(name)),
            };
            remove(&path)?;
            make(&path)?;
            let result = victim.check_rejected(&["eval", "resume"]);
            outcome.count(&format!("{thing} instead of {what}"), result);
            remove(&path)?;
        }
    }
    Ok(outcome)
}

fn remove(path: &Path) -> Result<()> {
    let is_folder = path.symlink_metadata()?.is_dir();
    let removed = match is_folder {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.with_context(|| format!("removing {}", path.display()))
}

#[cfg(unix)]
fn link(to: impl AsRef<Path>, at: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(to, at)?)
}

#[cfg(not(unix))]
fn link(_: impl AsRef<Path>, _: &Path) -> Result<()> {
    bail!("links can be made on Unix only")
}

/// Text that changed since the run started, with and without `corpus.json`, which has its hashes.
pub(super) fn changed_text(bench: &Bench) -> Result<Outcome> {
    let dir = bench.fresh("begun")?;
    let whole = bench.undisturbed(&dir, SHORT)?;
    let record = RunDir::open(&dir)?.corpus();
    let (run_record, hashes) = (dir.join("run.json"), fs::read(&record)?);
    let mut outcome = Outcome::default();
    for split in ["train", "dev", "test"] {
        for side in ["src", "trg"] {
            let path = data::corpus(&bench.folder).join(format!("{split}.{side}"));
            let text = fs::read_to_string(&path)?;
            for has_hashes in [true, false] {
                let _ = fs::remove_file(&run_record); // so that there is something to resume
                match has_hashes {
                    true => fs::write(&record, &hashes)?,
                    false => fs::remove_file(&record)?,
                }
                fs::write(&path, text.replacen("green", "grey", 1))?;
                let output = run(&mut bench.train_or_resume(&dir, SHORT));
                fs::write(&path, &text)?;
                let result = exit_code(&output?, &[1, 2, 3]).map(|_| ());
                let without = if has_hashes {
                    ""
                } else {
                    ", corpus.json deleted"
                };
                outcome.count(&format!("{split}.{side} changed{without}"), result);
            }
        }
    }
    fs::write(&record, &hashes)?;
    let _ = fs::remove_file(&run_record);
    outcome.count("unchanged", bench.check_resumes(&dir, SHORT, &whole));
    Ok(outcome)
}

/// The totals of `cargo xtask fuzz`, and a test of its inputs.
pub(super) fn fuzzed() -> Result<Outcome> {
    let report = fuzz::report()?;
    let mut outcome = suite::test(&["--test", "cli"], "fuzzed::")?;
    for (target, tally) in &report.targets {
        outcome.trials += tally.inputs as usize;
        if tally.broken > 0 {
            let broken = tally.broken;
            outcome
                .failures
                .push(format!("{target}: {broken} inputs, in runs/fuzz/broken"));
        }
    }
    outcome.note = match report.targets.is_empty() {
        true => "the committed inputs; `cargo xtask fuzz` generates others".to_owned(),
        false => {
            let counts = report.targets.iter();
            let counts =
                counts.map(|(target, tally)| format!("{target} {}", millions(tally.inputs)));
            counts.collect::<Vec<_>>().join(", ")
        }
    };
    Ok(outcome)
}

fn millions(n: u64) -> String {
    format!("{:.1} million", n as f64 / 1e6)
}

/// The table of failing commands.
pub(super) fn failures() -> Result<Outcome> {
    suite::test(&["--test", "cli"], "failures::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_last_message() {
        let messages = "DEBUG a 3 MiB\nerror: no\npeak memory 12.5 MiB\n";
        assert_eq!(peak_mib(messages), Some(12.5));
        assert_eq!(peak_mib("12.5 MiB"), None);
    }

    #[test]
    fn every_wrong_header_differs_from_the_correct_one() {
        let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let whole = join_safetensors(header, &[0; 8]);
        for (name, bytes) in headers(&whole).unwrap() {
            assert_ne!(bytes, whole, "{name}");
        }
    }
}
