//! R7, R8: what nobody in their right mind would put into a checkpoint, or write on a line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use s2s_runlog::{CheckpointName, RunDir, read_checkpoint, write_checkpoint};

use super::process::{Sets, end_with, quiet, succeed};
use super::{Bench, Outcome, suite};
use crate::fuzz;

/// As small as a model can be: its checkpoint has ten thousand bytes.
const SMALLEST: Sets = &[
    "model.embedding=2",
    "model.hidden=2",
    "model.decoder=2",
    "model.attention.units=2",
    "train.max_steps=8",
    "train.eval_every=4",
];

/// The files of a checkpoint that a run goes on from, in their order.
const FILES: [&str; 3] = ["params.safetensors", "moments.safetensors", "state.json"];

const MANIFEST: &str = "manifest.json";

/// What a process that refuses a checkpoint may hold beside it.
const MAX_SPARE_MIB: f64 = 64.0;

/// Longer than any refusal takes, also on a busy machine: it hashes a file of 256 MiB.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that has come to its end but for its record, so that `resume` reads its checkpoint; and
/// what its last checkpoint holds.
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

    /// The checkpoint as it was, or with another file, under a manifest that knows of it.
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

    /// That these refuse it, in time and within memory.
    fn check_refused(&self, commands: &[&str]) -> Result<()> {
        for command in commands {
            self.check(command, 3)?;
        }
        Ok(())
    }

    fn check(&self, command: &str, code: i32) -> Result<()> {
        let mut process = Command::new(&self.bench.s2s);
        process.args([command, "-vv", "--threads=1"]).arg(&self.dir);
        if command != "resume" {
            process.args(["--checkpoint", "last"]);
        }
        if command == "predict" {
            process.arg("1");
        }
        quiet(&mut process);
        let started = Instant::now();
        let output = process.output()?;
        end_with(&output, &[code]).with_context(|| command.to_owned())?;
        if started.elapsed() > PATIENCE {
            bail!("{command} took {:.0} s", started.elapsed().as_secs_f64());
        }
        let size = self.size()? as f64 / f64::from(1 << 20);
        let peak = peak_mib(&String::from_utf8_lossy(&output.stderr));
        match peak {
            Some(peak) if code != 0 && peak > size + MAX_SPARE_MIB => {
                bail!("{command} took {peak:.0} MiB for a checkpoint of {size:.0} MiB")
            }
            None if cfg!(target_os = "linux") => bail!("{command} does not tell its memory"),
            _ => Ok(()),
        }
    }

    /// Bytes of all that stands in the checkpoint's folder.
    fn size(&self) -> Result<u64> {
        let Ok(entries) = fs::read_dir(&self.last) else {
            return Ok(0);
        };
        let sizes = entries.map(|entry| Ok(entry?.path().symlink_metadata()?.len()));
        sizes.sum::<Result<u64>>()
    }
}

/// `12.5 MiB of memory at most`, which is said at the end.
fn peak_mib(talk: &str) -> Option<f64> {
    let line = talk
        .lines()
        .rev()
        .find(|line| line.contains(" MiB of memory at most"))?;
    let (before, _) = line.split_once(" MiB of memory")?;
    before.split_whitespace().last()?.parse().ok()
}

/// Every byte of every file changed, and every length that it may be cut to.
pub(super) fn cut_or_changed(bench: &Bench) -> Result<Outcome> {
    let victim = Victim::new(bench, "victim")?;
    let mut trials = Vec::new();
    for name in FILES.iter().chain([&MANIFEST]) {
        let len = fs::metadata(victim.last.join(name))?.len() as usize;
        trials.extend((0..len).flat_map(|at| [(*name, at, true), (*name, at, false)]));
    }
    let mut outcome = Outcome {
        note: format!("of {}", trials.len()),
        ..Outcome::default()
    };
    for (name, at, is_cut) in bench.sample("cut or changed", trials, 400) {
        let path = victim.last.join(name);
        let whole = fs::read(&path)?;
        let mut bytes = whole.clone();
        match is_cut {
            true => bytes.truncate(at),
            false => bytes[at] ^= 1 << (at % 8),
        }
        fs::write(&path, bytes)?;
        let result = victim.check_refused(&["eval"]);
        fs::write(&path, whole)?;
        let how = if is_cut { "cut" } else { "changed" };
        outcome.count(&format!("{name}, {how} at {at}"), result);
    }
    outcome.count("as it was", victim.check("eval", 0));
    Ok(outcome)
}

/// A file in the place of a checkpoint's.
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

/// Safetensors files that say of themselves what is not so, made from one that does not.
fn headers(whole: &[u8]) -> Result<Vec<(&'static str, Vec<u8>)>> {
    const HUGE: usize = 256 << 20;
    let (len, rest) = whole.split_first_chunk::<8>().context("a length")?;
    let (header, data) = rest
        .split_at_checked(u64::from_le_bytes(*len) as usize)
        .context("a header")?;
    let header = str::from_utf8(header)?;
    let file = |header: &str, data: &[u8]| {
        [
            &(header.len() as u64).to_le_bytes(),
            header.as_bytes(),
            data,
        ]
        .concat()
    };
    let changed = |from: &str, to: &str| -> Result<Vec<u8>> {
        if !header.contains(from) {
            bail!("no {from} in {header}");
        }
        Ok(file(&header.replacen(from, to, 1), data))
    };
    let name = header.split('"').nth(1).context("a name")?;
    let (quoted, dtype) = (format!("\"{name}\":"), "\"F32\"");
    let (_, entry) = header.split_once(&quoted).context("a tensor")?;
    let (entry, _) = entry.split_once('}').context("a tensor")?;
    let again = format!("{{{quoted}{entry}}},{quoted}");
    let last = data.len() - 4;
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
        ("a type that is none", changed(dtype, "\"F31\"")?),
        (
            "a dimension of 2^64 - 1",
            changed("\"shape\":[", "\"shape\":[18446744073709551615,")?,
        ),
        (
            "an offset behind the end",
            changed("_offsets\":[0,", "_offsets\":[0,9")?,
        ),
        ("data that are missing", file(header, &data[..last])),
        ("NaN", not_finite(f32::NAN)),
        ("infinity", not_finite(f32::INFINITY)),
    ])
}

/// Files under a manifest that knows of them.
pub(super) fn lying(bench: &Bench) -> Result<Outcome> {
    let victim = Victim::new(bench, "victim")?;
    let mut outcome = Outcome::default();
    for Lie { name, file, bytes } in lies(&victim)? {
        victim.save(Some((file, &bytes)))?;
        let commands: &[&str] = match file {
            "moments.safetensors" => &["resume"], // nothing else needs them
            _ => &["eval", "predict", "resume"],
        };
        outcome.count(&name, victim.check_refused(commands));
    }
    victim.save(None)?;
    outcome.count("as it was", victim.check("resume", 0));
    outcome.note = format!("with at most {MAX_SPARE_MIB} MiB beside the checkpoint");
    Ok(outcome)
}

/// Makes something at a path.
type Make = fn(&Path) -> Result<()>;

/// Things that are no files, or no folders, where a checkpoint has them.
pub(super) fn no_files(bench: &Bench) -> Result<Outcome> {
    let victim = Victim::new(bench, "victim")?;
    let mut outcome = Outcome::default();
    let things: [(&str, Make); 6] = [
        ("a folder", |path| Ok(fs::create_dir(path)?)),
        ("a FIFO", |path| {
            succeed(&Command::new("mkfifo").arg(path).output()?)
        }),
        ("a link to nothing", |path| link("nothing", path)),
        ("a loop of links", |path| link(path, path)),
        ("a link to a device without an end", |path| {
            link("/dev/zero", path)
        }),
        ("a link to a file", |path| link("state.json.bak", path)),
    ];
    for (thing, make) in things {
        for name in FILES.iter().chain([&MANIFEST, &""]) {
            victim.save(None)?;
            let path = match *name {
                "" => victim.last.clone(),
                name => victim.last.join(name),
            };
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
            make(&path)?;
            let commands: &[&str] = &["eval", "resume"];
            let result = victim.check_refused(commands);
            let what = if name.is_empty() {
                "the checkpoint"
            } else {
                name
            };
            outcome.count(&format!("{thing} for {what}"), result);
            if path.symlink_metadata()?.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
    }
    Ok(outcome)
}

#[cfg(unix)]
fn link(to: impl AsRef<Path>, at: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(to, at)?)
}

#[cfg(not(unix))]
fn link(_: impl AsRef<Path>, _: &Path) -> Result<()> {
    bail!("links are made on Unix only")
}

/// What `cargo xtask fuzz` has come to, and its inputs once more.
pub(super) fn fuzzed(_: &Bench) -> Result<Outcome> {
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
        true => "the inputs that are kept; `cargo xtask fuzz` finds others".to_owned(),
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

/// R14: the table of failures.
pub(super) fn failures(_: &Bench) -> Result<Outcome> {
    suite::test(&["--test", "cli"], "failures::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_is_said_at_the_end() {
        let talk = "DEBUG a 3\nerror: no\nDEBUG 12.5 MiB of memory at most\n";
        assert_eq!(peak_mib(talk), Some(12.5));
        assert_eq!(peak_mib("12.5 MiB"), None);
    }

    #[test]
    fn headers_lie_and_are_made_from_one_that_does_not() {
        let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut whole = (header.len() as u64).to_le_bytes().to_vec();
        whole.extend(header);
        whole.extend([0; 8]);
        for (name, bytes) in headers(&whole).unwrap() {
            assert_ne!(bytes, whole, "{name}");
        }
    }
}
