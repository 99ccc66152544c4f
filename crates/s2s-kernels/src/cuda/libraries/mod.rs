//! The libraries of CUDA, loaded when a device is first used.
//!
//! candle and cudarc call functions of libcuda, libcublas and libcurand by name. A program that is linked against these
//! files does not start where one of them is missing, not even to compute on the CPU. On Linux on x86-64,
//! [`functions`] therefore defines these functions, and this module loads the files for them. On other platforms, the
//! program is linked against the files.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod functions;

/// A library of CUDA that the system cannot load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingLibrary {
    /// Its file, such as `libcublas.so.13`.
    pub file: &'static str,
    /// Whether it is the driver, which is installed with the kernel module of the system.
    pub is_driver: bool,
    /// Why, as reported by the system.
    pub reason: String,
}

impl std::fmt::Display for MissingLibrary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot load {}: {}", self.file, self.reason)
    }
}

impl std::error::Error for MissingLibrary {}

/// Loads the driver, cuBLAS and cuRAND. Only the first call loads; the others return the same.
///
/// # Errors
/// If a file is missing or cannot be loaded. The driver comes first.
pub fn load_libraries() -> Result<(), MissingLibrary> {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    functions::load()?;
    Ok(())
}
