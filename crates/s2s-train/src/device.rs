//! Where tensors live.

use candle_core::{Device, bail};

/// The device called `cpu`, `cuda`, `cuda:1` (and so on) or `metal`.
///
/// # Errors
/// If the name is none of these, if this binary was built without that device, or if the machine
/// has none.
pub fn open_device(name: &str) -> candle_core::Result<Device> {
    let index = |text: &str| text.parse::<usize>().ok();
    match (name, name.split_once(':')) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", _) => cuda(0),
        ("metal", _) => metal(),
        (_, Some(("cuda", number))) => match index(number) {
            Some(number) => cuda(number),
            None => bail!("{number:?} is not the number of a CUDA device; write cuda:0"),
        },
        _ => bail!("unknown device {name:?}; choose cpu, cuda, cuda:N or metal"),
    }
}

fn cuda(index: usize) -> candle_core::Result<Device> {
    if cfg!(feature = "cuda") {
        Device::new_cuda(index)
    } else {
        bail!(
            "this binary was built without CUDA; build it with `--features cuda`, or use --device cpu"
        )
    }
}

fn metal() -> candle_core::Result<Device> {
    if cfg!(feature = "metal") {
        Device::new_metal(0)
    } else {
        bail!(
            "this binary was built without Metal; build it with `--features metal`, or use --device cpu"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_that_is_not_there_is_named_with_what_to_do() {
        assert!(open_device("cpu").is_ok());
        for (name, says) in [("tpu", "unknown device"), ("cuda:x", "is not the number")] {
            assert!(
                open_device(name).unwrap_err().to_string().contains(says),
                "{name}"
            );
        }
        if !cfg!(feature = "cuda") {
            assert!(
                open_device("cuda:1")
                    .unwrap_err()
                    .to_string()
                    .contains("--features cuda")
            );
        }
    }
}
