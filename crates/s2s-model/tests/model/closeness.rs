//! How far tensors are apart.

use candle_core::{DType, Device, Result, Tensor, bail};

/// The elements in double precision.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// The largest magnitude; not a number if one of the elements is not.
pub(crate) fn largest(tensor: &Tensor) -> Result<f64> {
    let numbers = numbers(tensor)?;
    if numbers.iter().any(|x| x.is_nan()) {
        return Ok(f64::NAN);
    }
    Ok(numbers.iter().fold(0.0, |largest, x| x.abs().max(largest)))
}

/// The largest difference of two elements; not a number if one of the elements is not.
///
/// # Errors
/// If the shapes differ.
pub(crate) fn distance(left: &Tensor, right: &Tensor) -> Result<f64> {
    if left.shape() != right.shape() {
        bail!("{:?} against {:?}", left.dims(), right.dims());
    }
    let double = |tensor: &Tensor| tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64);
    largest(&(double(left)? - double(right)?)?)
}

/// Fails unless no two elements are further apart than `tolerance`.
#[track_caller]
pub(crate) fn assert_close(
    got: &Tensor,
    expected: &Tensor,
    tolerance: f64,
    what: &str,
) -> Result<()> {
    let distance = distance(got, expected)?;
    // Written so that a distance that is not a number fails.
    assert!(
        distance <= tolerance,
        "{what}: {distance:e} apart, which is more than {tolerance:e}"
    );
    Ok(())
}

/// Fails unless all elements are equal.
#[track_caller]
pub(crate) fn assert_same(got: &Tensor, expected: &Tensor, what: &str) -> Result<()> {
    assert_close(got, expected, 0.0, what)
}
