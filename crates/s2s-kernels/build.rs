//! Compiles the CUDA kernels to PTX if the feature `cuda` is on.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed=src/cuda/kernels");
    for name in ["CUDA_COMPUTE_CAP", "CUDA_HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("kernels.ptx");
    let nvcc = match env::var_os("CUDA_HOME") {
        Some(home) => PathBuf::from(home).join("bin/nvcc"),
        None => PathBuf::from("nvcc"),
    };
    let mut command = Command::new(&nvcc);
    command
        .args(["-ptx", "-O3", "src/cuda/kernels/all.cu", "-o"])
        .arg(&out);
    if let Ok(capability) = env::var("CUDA_COMPUTE_CAP") {
        command.arg(format!("-arch=compute_{capability}"));
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} failed: {status}", nvcc.display()),
        Err(error) => panic!(
            "cannot run {}: {error}; docs/devices.md explains how to set up a CUDA toolkit",
            nvcc.display()
        ),
    }
    println!("cargo::rustc-env=S2S_CUDA_MAJOR={}", major_version(&nvcc));
}

/// The major version of the toolkit: its libraries have it in their names.
fn major_version(nvcc: &Path) -> u32 {
    let output = Command::new(nvcc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let release = text.as_deref().unwrap_or("").split("release ").nth(1);
    let major = release.and_then(|release| release.split('.').next()?.parse().ok());
    major.unwrap_or_else(|| panic!("`{} --version` prints no release: {text:?}", nvcc.display()))
}
