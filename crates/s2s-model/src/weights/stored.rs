//! A tensor where it is in a file.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

/// The type of stored numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Floating-point numbers.
    Float(DType),
    /// Others, by name; parameters have no such type.
    Other(String),
}

impl Kind {
    /// The type of one of PyTorch's storages.
    pub(super) fn of_storage(class: &str) -> Self {
        match class {
            "FloatStorage" => Self::Float(DType::F32),
            "DoubleStorage" => Self::Float(DType::F64),
            "HalfStorage" => Self::Float(DType::F16),
            "BFloat16Storage" => Self::Float(DType::BF16),
            other => Self::Other(other.trim_end_matches("Storage").to_owned()),
        }
    }

    /// The type of a tensor in safetensors.
    pub(super) fn of_safetensors(dtype: safetensors::Dtype) -> Self {
        match dtype {
            safetensors::Dtype::F32 => Self::Float(DType::F32),
            safetensors::Dtype::F64 => Self::Float(DType::F64),
            safetensors::Dtype::F16 => Self::Float(DType::F16),
            safetensors::Dtype::BF16 => Self::Float(DType::BF16),
            other => Self::Other(format!("{other:?}")),
        }
    }

    /// The name of the type.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Float(dtype) => format!("{dtype:?}"),
            Self::Other(name) => name.clone(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Float(dtype) => dtype.size_in_bytes(),
            Self::Other(_) => 0,
        }
    }
}

/// A tensor where it is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) kind: Kind,
    pub(super) shape: Vec<usize>,
    /// Elements from one index of an axis to the next.
    pub(super) strides: Vec<usize>,
    /// Elements before the first.
    pub(super) offset: usize,
    /// Its storage, which it may share.
    pub(super) bytes: Range<usize>,
}

impl Stored {
    /// A tensor whose elements follow each other.
    pub(super) fn contiguous(kind: Kind, shape: Vec<usize>, bytes: Range<usize>) -> Self {
        Self {
            kind,
            strides: contiguous_strides(&shape),
            shape,
            offset: 0,
            bytes,
        }
    }

    /// Whether every element is in the storage.
    pub(super) fn is_inside(&self) -> bool {
        if self.shape.len() != self.strides.len() {
            return false;
        }
        let mut last = Some(self.offset);
        for (size, stride) in self.shape.iter().zip(&self.strides) {
            let Some(steps) = size.checked_sub(1) else {
                return true; // it has no elements
            };
            last = last.and_then(|last| last.checked_add(steps.checked_mul(*stride)?));
        }
        let end = last.and_then(|last| last.checked_add(1)?.checked_mul(self.kind.size()));
        end.is_some_and(|end| end <= self.bytes.len())
    }

    /// The columns of a matrix from `start` on, `width` of them; another tensor as it is.
    pub(super) fn columns(&self, start: usize, width: usize) -> Self {
        let mut part = self.clone();
        if let ([_, columns], [_, stride]) = (&mut part.shape[..], &self.strides[..]) {
            *columns = width;
            part.offset += start * stride;
        }
        part
    }

    /// The same numbers without axes of size 1.
    pub(super) fn squeezed(&self) -> Self {
        let axes = self.shape.iter().zip(&self.strides);
        let (shape, strides) = axes.filter(|(size, _)| **size != 1).unzip();
        Self {
            shape,
            strides,
            ..self.clone()
        }
    }

    /// The numbers, from the file's bytes; `None` if they are not floating-point numbers. There are as
    /// many as a parameter of the model has, so memory is bounded.
    pub(super) fn load(&self, file: &[u8]) -> candle_core::Result<Option<Tensor>> {
        let Kind::Float(dtype) = self.kind else {
            return Ok(None);
        };
        let (storage, size) = (&file[self.bytes.clone()], dtype.size_in_bytes());
        let n_elements: usize = self.shape.iter().product();
        if self.strides == contiguous_strides(&self.shape) {
            let numbers = &storage[self.offset * size..][..n_elements * size];
            return Tensor::from_raw_buffer(numbers, dtype, &self.shape, &Device::Cpu).map(Some);
        }
        let mut packed = Vec::with_capacity(n_elements * size);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..n_elements {
            let places = index
                .iter()
                .zip(&self.strides)
                .map(|(i, stride)| i * stride);
            let place = (self.offset + places.sum::<usize>()) * size;
            packed.extend(&storage[place..place + size]);
            for (i, size) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *size {
                    break;
                }
                *i = 0;
            }
        }
        Tensor::from_raw_buffer(&packed, dtype, &self.shape, &Device::Cpu).map(Some)
    }
}

/// The strides of a tensor whose elements follow each other.
fn contiguous_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(shape: &[usize], strides: &[usize], offset: usize, n: usize) -> Stored {
        Stored {
            kind: Kind::Float(DType::F32),
            shape: shape.to_vec(),
            strides: strides.to_vec(),
            offset,
            bytes: 0..4 * n,
        }
    }

    #[test]
    fn a_transposed_tensor_and_its_columns_are_read_in_order() {
        let file: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let numbers = |stored: &Stored| {
            let tensor = stored.load(&file).unwrap().unwrap();
            tensor.to_vec2::<f32>().unwrap()
        };
        let transposed = stored(&[3, 2], &[1, 3], 0, 6);
        assert_eq!(numbers(&transposed), [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]);
        assert_eq!(numbers(&transposed.columns(1, 1)), [[3.0], [4.0], [5.0]]);
        let plain = Stored::contiguous(Kind::Float(DType::F32), vec![2, 3], 0..24);
        assert_eq!(numbers(&plain.columns(1, 2)), [[1.0, 2.0], [4.0, 5.0]]);
    }

    #[test]
    fn a_tensor_beyond_its_storage_is_recognized() {
        assert!(stored(&[2, 3], &[3, 1], 0, 6).is_inside());
        assert!(stored(&[2, 3], &[0, 1], 0, 3).is_inside());
        assert!(stored(&[0, 3], &[3, 1], 0, 0).is_inside());
        for outside in [
            stored(&[2, 3], &[3, 1], 1, 6),
            stored(&[2, 3], &[4, 1], 0, 6),
            stored(&[2, 3], &[3], 0, 6),
            stored(&[usize::MAX, usize::MAX], &[usize::MAX, 1], usize::MAX, 6),
        ] {
            assert!(!outside.is_inside(), "{outside:?}");
        }
    }
}
