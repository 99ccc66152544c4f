//! Compiles the CUDA kernels to PTX if the feature `cuda` is on.

use std::env;
use std::path::PathBuf;
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
}
