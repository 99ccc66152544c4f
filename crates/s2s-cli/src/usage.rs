//! Resource usage of this process.

/// CPU time of all threads, in milliseconds.
#[cfg(unix)]
pub(crate) fn cpu_ms() -> anyhow::Result<f64> {
    use rustix::time::{ClockId, clock_gettime};

    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Ok(1e3 * spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e6)
}

/// CPU time of all threads, in milliseconds.
#[cfg(not(unix))]
pub(crate) fn cpu_ms() -> anyhow::Result<f64> {
    anyhow::bail!("CPU time is not available on this system")
}

/// Peak memory of the process, on Linux.
pub(crate) fn peak_mib() -> Option<f64> {
    let status = s2s_runlog::system_file("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
