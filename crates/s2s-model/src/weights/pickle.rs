//! The state dict in a pickle, without running any code.
//!
//! candle's reader builds a tree of what the pickle describes and calls nothing. What it does not bound is
//! bounded here, before and after each operation: texts and numbers longer than the file, depth, and the
//! size of a tree that refers to itself.

use candle_core::pickle::{Object, Stack};

use super::WeightsError;
use crate::tensor_message;

/// Maximum size of a pickle: a state dict takes about 200 bytes per tensor.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// Maximum depth of the tree.
const MAX_DEPTH: usize = 64;
/// Maximum number of objects that are looked at in all.
const MAX_OBJECTS: usize = 1 << 22;

/// Every class and function that a state dict refers to; a reference to another one is code.
const KNOWN: [&str; 16] = [
    "collections.OrderedDict",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch.BFloat16Storage",
    "torch.BoolStorage",
    "torch.ByteStorage",
    "torch.CharStorage",
    "torch.ComplexFloatStorage",
    "torch.DoubleStorage",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.IntStorage",
    "torch.LongStorage",
    "torch.ShortStorage",
    "torch.Size",
    "torch.device",
];

/// The modules of PyTorch whose functions `_rebuild_*` make tensors.
const MAKERS: [&str; 2] = ["torch._utils._rebuild_", "torch._tensor._rebuild_"];

/// Where a model's state dict may be in a checkpoint; the first one with tensors is taken.
const STATE_DICTS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// A tensor of a state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PickledTensor {
    pub(super) name: String,
    /// The file with its numbers, and their type.
    pub(super) key: String,
    pub(super) storage: String,
    /// In elements.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The tensors of the state dict in a pickle.
pub(super) fn state_dict(bytes: &[u8]) -> Result<Vec<PickledTensor>, WeightsError> {
    let Object::Dict(entries) = read(bytes)? else {
        return Err(malformed("it is not a state dict"));
    };
    let nested = STATE_DICTS.iter().filter_map(|name| {
        let (_, value) = entries.iter().find(|(key, _)| is_text(key, name))?;
        match value {
            Object::Dict(entries) => Some(tensors(entries)),
            _ => None,
        }
    });
    let mut all = nested.chain([tensors(&entries)]);
    all.find(|tensors| !tensors.is_empty())
        .ok_or_else(|| malformed("its state dict has no tensors"))
}

fn malformed(reason: &str) -> WeightsError {
    WeightsError::Malformed(reason.to_owned())
}

fn is_text(object: &Object, text: &str) -> bool {
    matches!(object, Object::Unicode(found) if found == text)
}

/// The entries that are tensors.
fn tensors(entries: &[(Object, Object)]) -> Vec<PickledTensor> {
    let tensor = |(key, value): &(Object, Object)| match key {
        Object::Unicode(name) => tensor(name, value),
        _ => None,
    };
    entries.iter().filter_map(tensor).collect()
}

fn tensor(name: &str, object: &Object) -> Option<PickledTensor> {
    let Object::Reduce { callable, args } = object else {
        return None;
    };
    let (Object::Class { class_name, .. }, Object::Tuple(args)) = (&**callable, &**args) else {
        return None;
    };
    match (class_name.as_str(), &args[..]) {
        ("_rebuild_parameter", [inner, ..]) => tensor(name, inner),
        (
            "_rebuild_tensor_v2",
            [
                Object::PersistentLoad(storage),
                offset,
                Object::Tuple(shape),
                Object::Tuple(strides),
                ..,
            ],
        ) => {
            let Object::Tuple(storage) = &**storage else {
                return None;
            };
            let [
                _,
                Object::Class { class_name, .. },
                Object::Unicode(key),
                ..,
            ] = &storage[..]
            else {
                return None;
            };
            let sizes = |tuple: &[Object]| tuple.iter().map(size).collect::<Option<Vec<_>>>();
            Some(PickledTensor {
                name: name.to_owned(),
                key: key.clone(),
                storage: class_name.clone(),
                offset: size(offset)?,
                shape: sizes(shape)?,
                strides: sizes(strides)?,
            })
        }
        _ => None,
    }
}

fn size(object: &Object) -> Option<usize> {
    match object {
        Object::Int(number) => usize::try_from(*number).ok(),
        Object::Long(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// What the pickle describes.
fn read(bytes: &[u8]) -> Result<Object, WeightsError> {
    if bytes.len() > MAX_BYTES {
        return Err(malformed("its pickle is too large for a state dict"));
    }
    let (mut stack, mut rest, mut n_objects) = (Stack::empty(), bytes, 0);
    loop {
        check_operation(rest)?;
        let is_end = stack
            .read(&mut rest)
            .map_err(|error| WeightsError::Malformed(tensor_message(&error)))?;
        if let Some(top) = stack.stack().last() {
            count(top, MAX_DEPTH, &mut n_objects)?;
        }
        if is_end {
            let object = stack.finalize();
            return object.map_err(|_| malformed("its pickle is empty"));
        }
    }
}

/// Refuses an operation that refers to code, or that would reserve more memory than there are bytes.
fn check_operation(rest: &[u8]) -> Result<(), WeightsError> {
    match rest {
        [] => Err(malformed("its pickle has no end")),
        [b'c', names @ ..] => {
            let mut lines = names.splitn(3, |byte| *byte == b'\n');
            let (module, class) = (lines.next(), lines.next());
            let text = |line: Option<&[u8]>| {
                String::from_utf8_lossy(line.unwrap_or_default()).into_owned()
            };
            let name = format!("{}.{}", text(module), text(class));
            if KNOWN.contains(&name.as_str()) {
                return Ok(());
            }
            let is_storage = name.starts_with("torch.") && name.ends_with("Storage");
            let is_tensor = is_storage || MAKERS.iter().any(|maker| name.starts_with(maker));
            let name = name.chars().take(100).collect();
            Err(match is_tensor {
                true => WeightsError::Unsupported(name),
                false => WeightsError::Code(name),
            })
        }
        [0x80, protocol @ 4..=255, ..] => Err(malformed(&format!(
            "its pickle has protocol {protocol}; only 2, the default of torch.save, and 3 can be read"
        ))),
        [b'X', a, b, c, d, text @ ..] => {
            match u32::from_le_bytes([*a, *b, *c, *d]) as usize <= text.len() {
                true => Ok(()),
                false => Err(malformed("its pickle is cut off")),
            }
        }
        [0x8a, 9..=255, ..] => Err(malformed("its pickle has a number of more than 8 bytes")),
        _ => Ok(()),
    }
}

/// Counts the objects of a tree.
fn count(object: &Object, depth: usize, n_objects: &mut usize) -> Result<(), WeightsError> {
    *n_objects += match object {
        Object::Unicode(text) => 1 + text.len() / 64,
        _ => 1,
    };
    if depth == 0 || *n_objects > MAX_OBJECTS {
        return Err(malformed(
            "its pickle is no state dict: it is too deep or too large",
        ));
    }
    let mut inner = |object: &Object| count(object, depth - 1, n_objects);
    match object {
        Object::Tuple(all) | Object::List(all) => all.iter().try_for_each(inner),
        Object::Dict(entries) => entries.iter().try_for_each(|(key, value)| {
            inner(key)?;
            inner(value)
        }),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            inner(callable)?;
            inner(args)
        }
        Object::PersistentLoad(id) => inner(id),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pickle: &[u8], expected: &WeightsError) {
        let refused = state_dict(pickle).unwrap_err();
        assert_eq!(format!("{refused:?}"), format!("{expected:?}"));
    }

    #[test]
    fn code_is_named_and_not_run() {
        let system = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.";
        check(system, &WeightsError::Code("posix.system".to_owned()));
        check(
            b"c__main__\nModel\n)\x81.",
            &WeightsError::Code("__main__.Model".to_owned()),
        );
        check(b"cos", &WeightsError::Code("os.".to_owned()));
    }

    #[test]
    fn a_tensor_that_is_no_plain_array_is_not_called_code() {
        for name in [
            "torch._utils._rebuild_tensor_v3",
            "torch._utils._rebuild_sparse_tensor",
            "torch._tensor._rebuild_from_type_v2",
            "torch.QInt8Storage",
        ] {
            let (module, class) = name.rsplit_once('.').unwrap();
            let pickle = format!("}}X\x01\0\0\0ac{module}\n{class}\n");
            check(
                pickle.as_bytes(),
                &WeightsError::Unsupported(name.to_owned()),
            );
        }
    }

    /// A pickle of a dictionary with these entries, whose values are pickles themselves.
    fn dict(entries: &[(&str, String)]) -> String {
        let entry = |(key, value): &(&str, String)| {
            format!("X{}\0\0\0{key}{value}", char::from(key.len() as u8))
        };
        let entries: String = entries.iter().map(entry).collect();
        format!("}}({entries}u")
    }

    #[test]
    fn the_order_of_a_checkpoint_does_not_choose_its_state_dict() {
        let storage =
            "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ";
        let tensor = format!("ctorch._utils\n_rebuild_tensor_v2\n({storage}K\0)))tR");
        let weights = |name: &str| dict(&[(name, tensor.clone())]);
        let other = || dict(&[("hidden", "K\x04".to_owned())]);
        for (entries, expected) in [
            ([("state_dict", weights("a")), ("model", other())], "a"),
            ([("state_dict", weights("a")), ("model", weights("b"))], "a"),
            ([("state_dict", other()), ("model", weights("b"))], "b"),
            ([("c", tensor.clone()), ("model", other())], "c"),
        ] {
            let [first, second] = entries.clone();
            for entries in [entries, [second, first]] {
                let pickle = dict(&entries) + ".";
                let found = state_dict(pickle.as_bytes()).unwrap();
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].name, expected);
            }
        }
    }

    #[test]
    fn a_protocol_that_is_not_known_is_named() {
        for protocol in [4, 5] {
            let reason = format!(
                "its pickle has protocol {protocol}; only 2, the default of torch.save, and 3 can be read"
            );
            check(&[0x80, protocol, 0x95], &malformed(&reason));
        }
    }

    #[test]
    fn a_pickle_that_claims_more_than_it_has_is_refused() {
        check(b"X\xff\xff\xff\xffa", &malformed("its pickle is cut off"));
        let long = [&[0x8a, 200][..], &[1; 200], b"."].concat();
        check(
            &long,
            &malformed("its pickle has a number of more than 8 bytes"),
        );
        check(b"", &malformed("its pickle has no end"));
        check(b"}", &malformed("its pickle has no end"));
        check(b".", &malformed("its pickle is empty"));
        check(b"}.", &malformed("its state dict has no tensors"));
        check(b"K\x01.", &malformed("it is not a state dict"));
    }

    #[test]
    fn trees_that_are_deep_or_grow_without_bound_are_refused() {
        let reason = "its pickle is no state dict: it is too deep or too large";
        let deep = [&b")"[..], &[0x85].repeat(100_000), b"."].concat();
        check(&deep, &malformed(reason));
        // Each round doubles the object: a tuple of the object and its copy.
        let mut doubling = b")".to_vec();
        for _ in 0..60 {
            doubling.extend(b"q\x00h\x00\x86");
        }
        check(&doubling, &malformed(reason));
    }
}
