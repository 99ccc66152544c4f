//! Parameters to and from safetensors, with PyTorch's names.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use ::safetensors::SafeTensors;
use candle_core::safetensors::Load;
use candle_core::{CpuStorage, DType, Device, Result, Storage, StorageRef, Tensor, bail};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{CellKind, Params};

/// What a tensor takes in a header beside its name, type, shape and offsets being long; and what is
/// read beyond that, so that a foreign tensor can be named.
const ENTRY_BYTES: usize = 256;
const SPARE_BYTES: usize = 64 << 10;

/// What to do with NaN and infinities in a file. Training never writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// Refuse the file.
    Reject,
    /// Load them.
    Accept,
}

/// The named parameters as a safetensors file.
///
/// # Errors
/// If the device fails.
pub fn save_weights(params: &Params) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    save_tensors(
        params.iter().map(|(name, var)| (name, var.as_tensor())),
        &mut file,
    )?;
    Ok(file)
}

/// Writes tensors with their names into `file`, as safetensors. If it is such a file of the same
/// tensors already, its header stays and only the numbers are written: memory that is new to the
/// system takes several times as long.
///
/// # Errors
/// If the device fails.
pub fn save_tensors<'a, S: AsRef<str> + Ord + fmt::Display>(
    named: impl IntoIterator<Item = (S, &'a Tensor)>,
    file: &mut Vec<u8>,
) -> Result<()> {
    let named: Vec<(S, Tensor)> = named
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?)))
        .collect::<Result<_>>()?;
    let views: Vec<(&S, InPlace<'_>)> = named
        .iter()
        .map(|(name, tensor)| (name, InPlace::of(tensor)))
        .collect();
    match places(file, &views) {
        Some(places) => {
            for ((_, view), place) in views.iter().zip(places) {
                file[place].copy_from_slice(&::safetensors::View::data(view));
            }
        }
        None => *file = ::safetensors::serialize(views, None).map_err(candle_core::Error::wrap)?,
    }
    Ok(())
}

/// Where in a file these tensors stand, if it has them and no others.
fn places<S: AsRef<str>>(file: &[u8], views: &[(&S, InPlace<'_>)]) -> Option<Vec<Range<usize>>> {
    use ::safetensors::View;

    let (header, metadata) = SafeTensors::read_metadata(file).ok()?;
    let begin = size_of::<u64>() + header;
    let place = |(name, view): &(&S, InPlace<'_>)| {
        let info = metadata.info(name.as_ref())?;
        let (start, end) = info.data_offsets;
        let is_alike = info.dtype == view.dtype() && info.shape == view.shape();
        is_alike.then_some(begin + start..begin + end)
    };
    let is_all = metadata.offset_keys().len() == views.len();
    views
        .iter()
        .map(place)
        .collect::<Option<_>>()
        .filter(|_| is_all)
}

/// A tensor whose numbers are written from where they are: candle's own view copies them first.
struct InPlace<'a> {
    tensor: &'a Tensor,
    /// Where they are, and which of those there; for f32 in their order, on the CPU.
    numbers: Option<(StorageRef<'a>, Range<usize>)>,
}

impl<'a> InPlace<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        let numbers = match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => Some((storage, start..end)),
            _ => None,
        };
        Self { tensor, numbers }
    }
}

impl ::safetensors::View for InPlace<'_> {
    fn dtype(&self) -> ::safetensors::Dtype {
        ::safetensors::View::dtype(self.tensor)
    }

    fn shape(&self) -> &[usize] {
        self.tensor.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if let Some((storage, range)) = &self.numbers
            && let Storage::Cpu(CpuStorage::F32(numbers)) = &**storage
        {
            return Cow::Borrowed(bytemuck::cast_slice(&numbers[range.clone()]));
        }
        ::safetensors::View::data(self.tensor)
    }

    fn data_len(&self) -> usize {
        ::safetensors::View::data_len(self.tensor)
    }
}

/// Sets all parameters from a safetensors file, or none of them.
///
/// # Errors
/// As [`load_tensors`]; where the file has the weights of another cell, the message says so.
pub fn load_weights(params: &Params, bytes: &[u8], non_finite: NonFinite) -> Result<()> {
    let named: Vec<(&str, &Tensor)> = params
        .iter()
        .map(|(name, var)| (name, var.as_tensor()))
        .collect();
    let file = open(bytes, &named)?;
    for (name, tensor) in &named {
        let own = cell_of(name, tensor.dims());
        let other = file.tensor(name).ok();
        let other = other.and_then(|other| cell_of(name, other.shape()));
        if let (Some(own), Some(other)) = (own, other.filter(|_| own != other)) {
            bail!(
                "the file has the weights of a model with cell = \"{other}\", the model has cell = \"{own}\""
            );
        }
    }
    let loaded = take(&file, &named, non_finite)?;
    let vars = params.iter().map(|(_, var)| var);
    vars.zip(loaded)
        .try_for_each(|(var, tensor)| var.set(&tensor))
}

/// The tensors of a safetensors file that has these names, each with the shape, type and device of
/// the one beside it, and no others; in this order.
///
/// Beside the tensors it takes no more memory than a header of such a file does, whatever the file
/// says of itself.
///
/// # Errors
/// If the file is malformed, or anything in it is not as it should be: the message names the first
/// tensor that differs.
pub fn load_tensors(
    bytes: &[u8],
    like: &[(&str, &Tensor)],
    non_finite: NonFinite,
) -> Result<Vec<Tensor>> {
    take(&open(bytes, like)?, like, non_finite)
}

/// A file that has each of its tensors once, and a header that one with these names may have.
fn open<'a>(bytes: &'a [u8], like: &[(&str, &Tensor)]) -> Result<SafeTensors<'a>> {
    let entries = like.iter().map(|(name, _)| name.len() + ENTRY_BYTES);
    let mut found = BTreeSet::new();
    for name in header_names(bytes, entries.sum::<usize>() + SPARE_BYTES)? {
        if let Some(name) = found.replace(name) {
            bail!("the file has two tensors {name}");
        }
    }
    SafeTensors::deserialize(bytes).map_err(candle_core::Error::wrap)
}

fn take(
    file: &SafeTensors<'_>,
    like: &[(&str, &Tensor)],
    non_finite: NonFinite,
) -> Result<Vec<Tensor>> {
    let known: BTreeSet<&str> = like.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = file.names().into_iter().collect();
    if let Some(name) = found.difference(&known).next() {
        bail!("the file has a tensor {name:?}, which does not belong there");
    }
    if let Some(name) = known.difference(&found).next() {
        bail!("the file has no tensor {name}");
    }
    let take = |(name, like): &(&str, &Tensor)| {
        let view = file.tensor(name).map_err(candle_core::Error::wrap)?;
        let dtype = DType::try_from(view.dtype())?;
        if view.shape() != like.dims() || dtype != like.dtype() {
            bail!(
                "{name} is {dtype:?} {:?} in the file, expected {:?} {:?}",
                view.shape(),
                like.dtype(),
                like.dims(),
            );
        }
        let tensor = view.load(like.device())?;
        if non_finite == NonFinite::Reject && !is_finite(&tensor)? {
            bail!("{name} has numbers that are not finite");
        }
        Ok(tensor)
    };
    like.iter().map(take).collect()
}

/// Whether all numbers are finite: 0 times any other is no 0.
fn is_finite(tensor: &Tensor) -> Result<bool> {
    let zero = (tensor * 0.0)?.sum_all()?.to_dtype(DType::F64)?;
    Ok(zero.to_scalar::<f64>()? == 0.0)
}

/// The names in a header of `max` bytes at most, as often as they stand there.
fn header_names(bytes: &[u8], max: usize) -> Result<Vec<String>> {
    let Some((len, rest)) = bytes.split_first_chunk() else {
        bail!("the file is too short to be safetensors");
    };
    let len = u64::from_le_bytes(*len);
    let header = usize::try_from(len).ok().filter(|len| *len <= max);
    let Some(header) = header.and_then(|len| rest.get(..len)) else {
        bail!("the file has a header of {len} bytes, which is no header of such a file");
    };
    let names: Names = serde_json::from_slice(header).map_err(candle_core::Error::wrap)?;
    Ok(names.0)
}

/// The keys of a JSON object, whose values are passed over.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M>(self, mut map: M) -> std::result::Result<Names, M::Error>
            where
                M: MapAccess<'de>,
            {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
                    names.push(name);
                }
                names.retain(|name| name != METADATA);
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// What may stand in a header beside tensors: what other programs note.
const METADATA: &str = "__metadata__";

/// The cell whose gates a recurrent layer's `weight_hh [G·H, H]` has.
fn cell_of(name: &str, shape: &[usize]) -> Option<CellKind> {
    let [gates, units] = *shape else {
        return None;
    };
    let is_recurrent = name.contains(".weight_hh_l");
    [CellKind::Gru, CellKind::Lstm]
        .into_iter()
        .find(|cell| is_recurrent && cell.gates() * units == gates)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::Init;

    fn params(seed: u64, width: usize) -> Params {
        let mut params = Params::new(seed, DType::F32, &Device::Cpu);
        let mut root = params.root();
        root.get("a", (2, width), Init::Normal).unwrap();
        root.get("b", 3, Init::Normal).unwrap();
        params
    }

    fn values(params: &Params) -> Vec<Vec<f32>> {
        params
            .iter()
            .map(|(_, var)| var.flatten_all().unwrap().to_vec1().unwrap())
            .collect()
    }

    #[test]
    fn weights_round_trip() -> Result<()> {
        let (from, to) = (params(1, 4), params(2, 4));
        load_weights(&to, &save_weights(&from)?, NonFinite::Reject)?;
        assert_eq!(values(&from), values(&to));
        Ok(())
    }

    #[test]
    fn a_file_is_the_same_whatever_it_was_before() -> Result<()> {
        let saved = |file: &mut Vec<u8>, params: &Params| {
            let named = params.iter().map(|(name, var)| (name, var.as_tensor()));
            save_tensors(named, file)
        };
        let (ours, others) = (params(1, 4), [params(2, 4), params(3, 5), params(4, 3)]);
        let expected = save_weights(&ours)?;
        let mut file = b"no such file".to_vec();
        for other in &others {
            saved(&mut file, &ours)?;
            assert!(file == expected);
            let before = file.as_ptr();
            saved(&mut file, &ours)?;
            assert!(file == expected && file.as_ptr() == before);
            saved(&mut file, other)?;
            assert!(file == save_weights(other)?);
        }
        let fewer = ours.iter().take(1);
        saved(&mut file, &ours)?;
        save_tensors(fewer.map(|(name, var)| (name, var.as_tensor())), &mut file)?;
        assert_ne!(file, expected);
        SafeTensors::deserialize(&file)
            .unwrap()
            .tensor("a")
            .unwrap();
        let renamed = ours.iter().map(|(name, var)| (format!("{name}'"), var));
        saved(&mut file, &ours)?;
        save_tensors(
            renamed.map(|(name, var)| (name, var.as_tensor())),
            &mut file,
        )?;
        let names: BTreeSet<String> = SafeTensors::deserialize(&file)
            .unwrap()
            .names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        assert_eq!(names, BTreeSet::from(["a'".to_owned(), "b'".to_owned()]));
        Ok(())
    }

    #[test]
    fn foreign_weights_are_refused_and_the_model_is_untouched() -> Result<()> {
        let model = params(1, 4);
        let before = values(&model);
        let mut extra = params(2, 4);
        extra.root().get("c", 1, Init::Normal)?;
        let mut fewer = Params::new(3, DType::F32, &Device::Cpu);
        fewer.root().get("a", (2, 4), Init::Normal)?;
        for (foreign, says) in [
            (
                params(2, 5),
                "a is F32 [2, 5] in the file, expected F32 [2, 4]",
            ),
            (extra, "a tensor \"c\", which does not belong there"),
            (fewer, "no tensor b"),
        ] {
            check_refused(&model, &save_weights(&foreign)?, says);
        }
        let bytes = save_weights(&model)?;
        for end in 0..bytes.len() {
            check_refused(&model, &bytes[..end], "");
        }
        assert_eq!(before, values(&model));
        Ok(())
    }

    #[track_caller]
    fn check_refused(model: &Params, bytes: &[u8], says: &str) {
        let error = load_weights(model, bytes, NonFinite::Reject).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }

    /// A file with this header, and data for it.
    fn file(header: &str, n_bytes: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + n_bytes, 0);
        bytes
    }

    #[test]
    fn headers_that_nobody_writes_are_refused() {
        let model = params(1, 4);
        let a = r#""a":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]}"#;
        let b = r#""b":{"dtype":"F32","shape":[3],"data_offsets":[32,44]}"#;
        let good = file(&format!("{{{a},{b}}}"), 44);
        load_weights(&model, &good, NonFinite::Reject).unwrap();
        let noted = format!(r#"{{"__metadata__":{{"format":"pt"}},{a},{b}}}"#);
        load_weights(&model, &file(&noted, 44), NonFinite::Reject).unwrap();

        let deep = format!(r#"{{"a":{}"#, "[".repeat(500));
        let many = format!("{{{a},{b},{}}}", [a; 2000].join(","));
        let wide = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(40_000));
        let huge = a.replace("[2,4]", &format!("[{},{}]", u64::MAX, u64::MAX));
        for (header, says) in [
            (format!("{{{a},{a},{b}}}"), "two tensors a"),
            (format!("{{{a},{}}}", b.replace('b', "a")), "two tensors a"),
            (
                format!("{{{a},{}}}", b.replace("[3]", "[3,1]")),
                "expected F32 [3]",
            ),
            (
                format!("{{{a},{}}}", b.replace("F32", "I32")),
                "b is I32 [3]",
            ),
            (format!("{{{a},{}}}", b.replace("44", "48")), ""),
            (format!("{{{a},{}}}", b.replace("32,44", "0,12")), ""),
            (format!("{{{huge},{b}}}"), ""),
            ("[]".to_owned(), "an object of tensors"),
            ("{".to_owned(), "EOF"),
            (deep, "EOF"),
            (many, "no header of such a file"),
            (wide, "no header of such a file"),
        ] {
            check_refused(&model, &file(&header, 44), says);
        }
        for len in [0, 1 << 20, 1 << 40, u64::MAX] {
            let mut bytes = good.clone();
            bytes[..8].copy_from_slice(&len.to_le_bytes());
            check_refused(&model, &bytes, "");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_taken_only_if_asked_for() -> Result<()> {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (model, other) = (params(1, 4), params(2, 4));
            let before = values(&model);
            let b = other.get("b").unwrap();
            b.set(&Tensor::new(&[1.0, bad, f32::MAX], &Device::Cpu)?)?;
            let bytes = save_weights(&other)?;
            check_refused(&model, &bytes, "b has numbers that are not finite");
            assert_eq!(values(&model), before);
            load_weights(&model, &bytes, NonFinite::Accept)?;
            assert_eq!(values(&model)[0], values(&other)[0]);
        }
        Ok(())
    }
}
