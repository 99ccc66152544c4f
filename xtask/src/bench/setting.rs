//! The conditions of a measurement, and how its numbers are written.

use std::fs;
use std::time::SystemTime;

use anyhow::Result;
use s2s_lab::process::{command, stdout};
use s2s_lab::utc_date;

use super::process::Programs;

/// Date, CPU, versions, and the load of the machine before and after: a line below a table.
pub(super) fn line(programs: &Programs, load_before: &str) -> Result<String> {
    let mut parts = vec![
        utc_date(SystemTime::now()),
        cpu_name(),
        stdout(command(&programs.s2s).arg("--version"))?,
        version(&stdout(command("rustc").arg("--version"))?),
    ];
    for (name, module, python) in [
        ("PyTorch", "torch", &programs.torch),
        ("JAX", "jax", &programs.jax),
    ] {
        if let Some(python) = python {
            let script = format!("import {module}; print({module}.__version__)");
            let number = stdout(command(python).args(["-c", &script]))?;
            parts.push(format!("{name} {number}"));
        }
    }
    if !programs.can_pin {
        parts.push("not pinned to a core".to_owned());
    }
    let load = load();
    parts.push(format!("load before {load_before}, after {load}"));
    Ok(parts.join("; ") + "\n")
}

/// `rustc 1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version(text: &str) -> String {
    text.split(" (").next().unwrap_or(text).to_owned()
}

/// The name of the CPU, if the system reports it.
pub(crate) fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

/// The load average of the last minute, if the system reports it.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = text.split_whitespace().next();
    minute.unwrap_or("unknown").to_owned()
}

/// Three significant digits.
pub(super) fn digits(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.3}"),
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

pub(super) fn optional(value: Option<f64>, write: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_significant_digits() {
        assert_eq!(
            [0.12345, 1.2345, 12.345, 1234.5].map(digits),
            ["0.123", "1.23", "12.3", "1234"]
        );
    }

    #[test]
    fn a_version_is_written_without_its_commit() {
        assert_eq!(
            version("rustc 1.95.0 (59807616e 2026-04-14)"),
            "rustc 1.95.0"
        );
    }
}
