//! The libraries of CUDA: a program needs none of them to start.

use std::process::Command;

use s2s_kernels::cuda::{cuda_devices, driver_cuda_version, load_libraries, open_cuda};

/// glibc's loader lists the libraries that it would load, instead of starting the program.
#[test]
fn a_program_starts_without_the_libraries_of_cuda() {
    let program = std::env::current_exe().unwrap();
    let list = Command::new(program)
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .output()
        .unwrap();
    let list = String::from_utf8_lossy(&list.stdout);
    let names: Vec<&str> = list.lines().map(str::trim_start).collect();
    assert!(
        names.iter().any(|name| name.starts_with("libc.so")),
        "{list}"
    );
    for library in ["libcu", "libnv"] {
        assert!(
            !names.iter().any(|name| name.starts_with(library)),
            "{list}"
        );
    }
}

#[test]
fn without_a_library_its_functions_fail_with_its_name() {
    let Err(missing) = load_libraries() else {
        return; // on a machine with the driver, the other tests call the functions
    };
    for error in [
        cuda_devices().map(drop).unwrap_err(),
        driver_cuda_version().map(drop).unwrap_err(),
        open_cuda(0).map(drop).unwrap_err(),
    ] {
        assert!(error.to_string().contains(missing.file), "{error}");
    }
}
