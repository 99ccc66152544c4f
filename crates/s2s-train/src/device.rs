//! Opens the device on which tensors are computed.

use candle_core::Device;

use crate::Precision;

/// A device that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct DeviceError {
    problem: String,
    remedy: String,
}

impl DeviceError {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// What the user can try next.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

/// Opens the device named `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// # Errors
/// If the name is unknown, the binary was built without support for the device, or the machine has
/// no such device that works with this binary.
pub fn open_device(name: &str) -> Result<Device, DeviceError> {
    match (name, name.split_once(':')) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", _) => cuda(0),
        ("metal", _) => metal(),
        (_, Some(("cuda", number))) => match number.parse() {
            Ok(number) => cuda(number),
            Err(_) => Err(DeviceError::new(
                format!("{number:?} is not the number of a CUDA device"),
                "--device cuda:0",
            )),
        },
        _ => Err(DeviceError::new(
            format!("unknown device {name:?}"),
            "--device auto, cpu, cuda, cuda:N or metal",
        )),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Device, DeviceError> {
    Err(built_without("CUDA", "cuda"))
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, DeviceError> {
    use s2s_kernels::cuda::{
        cuda_card, cuda_devices, driver_cuda_version, load_libraries, open_cuda,
    };

    load_libraries().map_err(|missing| match missing.is_driver {
        true => no_driver(&missing.reason),
        false => no_library(missing.file, &missing.reason),
    })?;
    let failed =
        |error: candle_core::Error| driver_failed(index, &s2s_model::tensor_message(&error));
    let count = cuda_devices().map_err(failed)?;
    if index >= count {
        return Err(no_such_card(index, count));
    }
    check_driver(driver_cuda_version().map_err(failed)?, BUILT_FOR_CUDA)?;
    let device = open_cuda(index).map_err(failed)?;
    let (card, capability) = cuda_card(&device).map_err(failed)?;
    check_card(index, &card, capability, BUILT_FOR_CAPABILITY)?;
    Ok(device)
}

/// A GPU and its driver; the texts are empty for other devices, and where the system does not report them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Card {
    /// Name of the GPU.
    pub(crate) name: String,
    /// Version of the driver, such as 580.159.04.
    pub(crate) driver_version: String,
    /// The latest version of CUDA that the driver supports, such as 13.0.
    pub(crate) driver_cuda_version: String,
}

/// The card of a CUDA device.
#[cfg(feature = "cuda")]
pub(crate) fn card(device: &Device) -> Card {
    let Ok((name, _)) = s2s_kernels::cuda::cuda_card(device) else {
        return Card::default();
    };
    let file = s2s_runlog::system_file("/proc/driver/nvidia/version");
    let supported = s2s_kernels::cuda::driver_cuda_version();
    Card {
        name,
        driver_version: file
            .and_then(|text| driver_version(&text))
            .unwrap_or_default(),
        driver_cuda_version: supported
            .map(|(major, minor)| format!("{major}.{minor}"))
            .unwrap_or_default(),
    }
}

/// Empty: this build has no CUDA.
#[cfg(not(feature = "cuda"))]
pub(crate) fn card(_device: &Device) -> Card {
    Card::default()
}

/// The version in the text of `/proc/driver/nvidia/version`: the first word of its first line that consists of digits
/// and points.
#[cfg(any(test, feature = "cuda"))]
fn driver_version(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find(|line| line.starts_with("NVRM version:"))?;
    let is_version = |word: &&str| {
        word.contains('.')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device, DeviceError> {
    Err(built_without("Metal", "metal"))
}

#[cfg(feature = "metal")]
fn metal() -> Result<Device, DeviceError> {
    Device::new_metal(0).map_err(|error| {
        let reason = s2s_model::tensor_message(&error);
        DeviceError::new(
            format!("cannot open the Metal device: {reason}"),
            "--device cpu",
        )
    })
}

/// Checks that a device can multiply matrices in a precision.
pub(crate) fn check_precision(precision: Precision, device: &Device) -> Result<(), DeviceError> {
    match (precision, device) {
        (Precision::Bf16, Device::Cpu) => Err(DeviceError::new(
            "train.precision = \"bf16\" needs a GPU: candle multiplies no bf16 on the CPU",
            "--set train.precision=f32, or a GPU with --device cuda",
        )),
        #[cfg(feature = "cuda")]
        (Precision::Bf16, Device::Cuda(_)) => match s2s_kernels::cuda::cuda_card(device) {
            Ok((card, capability)) => check_bf16(&card, capability),
            Err(error) => Err(driver_failed(0, &s2s_model::tensor_message(&error))),
        },
        _ => Ok(()),
    }
}

/// Cards of compute capability 8.0 and later multiply in bf16.
#[cfg(any(test, feature = "cuda"))]
fn check_bf16(card: &str, capability: (u32, u32)) -> Result<(), DeviceError> {
    if capability >= (8, 0) {
        return Ok(());
    }
    Err(DeviceError::new(
        format!(
            "train.precision = \"bf16\" needs compute capability 8.0, and {card} has {}.{}",
            capability.0, capability.1
        ),
        "--set train.precision=f16",
    ))
}

/// Whether an error message means that the device ran out of memory.
pub(crate) fn is_out_of_memory(message: &str) -> bool {
    const SIGNS: [&str; 3] = [
        "CUDA_ERROR_OUT_OF_MEMORY",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CURAND_STATUS_ALLOCATION_FAILED",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

#[cfg(any(test, not(feature = "cuda"), not(feature = "metal")))]
fn built_without(device: &str, feature: &str) -> DeviceError {
    DeviceError::new(
        format!("this binary was built without {device}"),
        format!("`cargo build --release -p s2s-cli --features {feature}`, or --device cpu"),
    )
}

/// Set by `scripts/cuda_env.sh` at build time: the toolkit version (13000 means 13.0) and the
/// compute capability (90 means 9.0).
#[cfg(feature = "cuda")]
const BUILT_FOR_CUDA: Option<&str> = option_env!("CUDARC_CUDA_VERSION");
#[cfg(feature = "cuda")]
const BUILT_FOR_CAPABILITY: Option<&str> = option_env!("CUDA_COMPUTE_CAP");

#[cfg(any(test, feature = "cuda"))]
fn no_such_card(index: usize, count: usize) -> DeviceError {
    let devices = match count {
        0 => return no_card_visible(),
        1 => "1 CUDA device".to_owned(),
        count => format!("{count} CUDA devices"),
    };
    DeviceError::new(
        format!("there is no cuda:{index}: this machine has {devices}, numbered from 0"),
        "--device cuda:0",
    )
}

#[cfg(any(test, feature = "cuda"))]
fn no_driver(reason: &str) -> DeviceError {
    DeviceError::new(
        format!("cannot load the NVIDIA driver: {reason}"),
        "--device cpu; or install the driver",
    )
}

#[cfg(any(test, feature = "cuda"))]
fn no_library(file: &str, reason: &str) -> DeviceError {
    DeviceError::new(
        format!("cannot load {file} of the CUDA toolkit: {reason}"),
        "--device cpu; or set LD_LIBRARY_PATH to the folder of that file, see docs/devices.md",
    )
}

#[cfg(any(test, feature = "cuda"))]
fn no_card_visible() -> DeviceError {
    DeviceError::new(
        "no CUDA device is visible to this process",
        "`nvidia-smi -L` to list the GPUs, and unset CUDA_VISIBLE_DEVICES if it hides them; or \
         --device cpu",
    )
}

/// The driver compiles the kernels when they are loaded, so it must support the PTX version of the
/// toolkit that built them.
#[cfg(any(test, feature = "cuda"))]
fn check_driver(driver: (u32, u32), built_for: Option<&str>) -> Result<(), DeviceError> {
    let Some(built_for) = built_for.and_then(|version| version.parse::<u32>().ok()) else {
        return Ok(());
    };
    let needed = (built_for / 1000, built_for % 1000 / 10);
    if driver >= needed {
        return Ok(());
    }
    Err(DeviceError::new(
        format!(
            "the NVIDIA driver supports CUDA {}.{}, but this binary was built with CUDA {}.{}",
            driver.0, driver.1, needed.0, needed.1
        ),
        "a newer driver, or a build with an older CUDA toolkit (docs/devices.md); or --device cpu",
    ))
}

/// Kernels for 9.0 and above run on that architecture only, older ones on all later architectures
/// too.
#[cfg(any(test, feature = "cuda"))]
fn check_card(
    index: usize,
    card: &str,
    capability: (u32, u32),
    built_for: Option<&str>,
) -> Result<(), DeviceError> {
    let Some(needed) = built_for.and_then(|digits| digits.parse::<u32>().ok()) else {
        return Ok(());
    };
    let found = 10 * capability.0 + capability.1;
    if found == needed || (needed < 90 && found > needed) {
        return Ok(());
    }
    Err(DeviceError::new(
        format!(
            "cuda:{index} ({card}) has compute capability {}.{}, but this binary was built for {}.{}",
            capability.0,
            capability.1,
            needed / 10,
            needed % 10
        ),
        format!(
            "`CUDA_COMPUTE_CAP={found} cargo build --release -p s2s-cli --features cuda`, or \
             --device cpu"
        ),
    ))
}

/// Translates a driver error by the name of its code.
#[cfg(any(test, feature = "cuda"))]
fn driver_failed(index: usize, message: &str) -> DeviceError {
    if message.contains("CUDA_ERROR_NO_DEVICE") {
        return no_card_visible();
    }
    if is_out_of_memory(message) {
        return DeviceError::new(
            format!("cuda:{index} is out of memory"),
            "`nvidia-smi` shows which processes use it; or --device cpu",
        );
    }
    // `DriverError(CODE, "text")` in candle's words.
    let parts = message
        .strip_prefix("DriverError(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.split_once(", "));
    let reason = match parts {
        Some((code, text)) => format!("{} ({code})", text.trim_matches('"')),
        None => message.to_owned(),
    };
    DeviceError::new(
        format!("the NVIDIA driver does not work with this binary: {reason}"),
        "`nvidia-smi` shows whether the driver works; or --device cpu",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &DeviceError, problem: &str, remedy: &str) {
        assert!(error.to_string().contains(problem), "{error}");
        assert!(error.remedy().contains(remedy), "{}", error.remedy());
    }

    #[test]
    fn an_unavailable_device_is_named_with_a_remedy() {
        assert!(open_device("cpu").is_ok());
        let error = |name| open_device(name).unwrap_err();
        check(
            &error("tpu"),
            "unknown device \"tpu\"",
            "--device auto, cpu",
        );
        check(&error("cuda:x"), "\"x\" is not the number", "cuda:0");
        check(&error("cuda:-1"), "\"-1\" is not the number", "cuda:0");
        if !cfg!(feature = "cuda") {
            check(&error("cuda:1"), "built without CUDA", "--features cuda");
        }
        if !cfg!(feature = "metal") {
            check(&error("metal"), "built without Metal", "--features metal");
        }
    }

    #[test]
    fn a_device_number_out_of_range_reports_the_device_count() {
        check(
            &no_such_card(7, 1),
            "no cuda:7: this machine has 1",
            "cuda:0",
        );
        check(&no_such_card(2, 2), "has 2 CUDA devices", "cuda:0");
        check(&no_such_card(0, 0), "no CUDA device", "nvidia-smi");
    }

    #[test]
    fn a_missing_library_is_named_with_a_command_that_works_without_it() {
        let reason = "libcuda.so.1: cannot open shared object file: No such file or directory";
        let error = no_driver(reason);
        check(&error, "cannot load the NVIDIA driver", "--device cpu");
        check(&error, "libcuda.so.1: cannot open", "install the driver");
        let error = no_library("libcublas.so.13", "no such file");
        check(
            &error,
            "libcublas.so.13 of the CUDA toolkit",
            "--device cpu",
        );
        check(&error, "no such file", "LD_LIBRARY_PATH");
    }

    /// First lines of the file for the proprietary and for the open kernel module.
    #[test]
    fn the_driver_version_is_read_from_the_first_line() {
        for (line, version) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024",
                "535.183.01",
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  \
                 (dvs-builder@U22-I3-H04-01-5)  Sun Jul 27 07:54:38 UTC 2025",
                "580.65.06",
            ),
        ] {
            let text = format!(
                "{line}\nGCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
            );
            assert_eq!(driver_version(&text).as_deref(), Some(version));
        }
        for text in [
            "",
            "GCC version:  gcc version 12.3.0",
            "NVRM version: unknown",
        ] {
            assert_eq!(driver_version(text), None);
        }
    }

    #[test]
    fn the_driver_must_support_the_toolkit_version_of_the_build() {
        assert_eq!(check_driver((13, 0), Some("13000")), Ok(()));
        assert_eq!(check_driver((13, 1), Some("13000")), Ok(()));
        assert_eq!(check_driver((11, 0), None), Ok(()));
        let error = check_driver((12, 8), Some("13000")).unwrap_err();
        check(&error, "supports CUDA 12.8, but", "a newer driver");
    }

    #[test]
    fn the_card_must_match_the_compute_capability_of_the_build() {
        let on = |capability, built_for| check_card(0, "a card", capability, built_for);
        assert_eq!(on((9, 0), Some("90")), Ok(()));
        assert_eq!(on((9, 0), Some("80")), Ok(()));
        assert_eq!(on((7, 5), None), Ok(()));
        let error = on((8, 0), Some("90")).unwrap_err();
        check(
            &error,
            "(a card) has compute capability 8.0",
            "CUDA_COMPUTE_CAP=80",
        );
        let error = on((12, 0), Some("90")).unwrap_err();
        check(&error, "was built for 9.0", "CUDA_COMPUTE_CAP=120");
    }

    #[test]
    fn half_precision_needs_a_device_that_multiplies_in_it() {
        for precision in [Precision::F32, Precision::F16] {
            assert_eq!(check_precision(precision, &Device::Cpu), Ok(()));
        }
        let error = check_precision(Precision::Bf16, &Device::Cpu).unwrap_err();
        check(&error, "\"bf16\" needs a GPU", "train.precision=f32");
        assert_eq!(check_bf16("a card", (8, 0)), Ok(()));
        let error = check_bf16("NVIDIA T4", (7, 5)).unwrap_err();
        check(
            &error,
            "needs compute capability 8.0, and NVIDIA T4 has 7.5",
            "f16",
        );
    }

    #[test]
    fn driver_errors_are_distinguished_by_their_code() {
        let of = |code: &str| driver_failed(1, &format!("DriverError({code}, \"..\")"));
        check(
            &of("CUDA_ERROR_NO_DEVICE"),
            "no CUDA device is visible",
            "nvidia-smi",
        );
        check(
            &of("CUDA_ERROR_OUT_OF_MEMORY"),
            "cuda:1 is out of memory",
            "nvidia-smi",
        );
        check(
            &of("CUDA_ERROR_UNKNOWN"),
            "driver does not work with this binary: .. (CUDA_ERROR_UNKNOWN)",
            "--device cpu",
        );
    }
}
