//! Messages for the HParams dashboard of TensorBoard, which lists runs with their configuration and their
//! final metrics.

use protobuf::Message;
use protobuf::well_known_types::Value as ProtoValue;
use tensorboard_proto::api::Status;
use tensorboard_proto::plugin_hparams::{
    HParamsPluginData, HParamsPluginData_oneof_data, SessionEndInfo, SessionStartInfo,
};
use toml::{Table, Value};

/// Tag of [`start`].
pub(crate) const START: &str = "_hparams_/session_start_info";
/// Tag of [`end`].
pub(crate) const END: &str = "_hparams_/session_end_info";

/// The message that lists the keys of a configuration and their values.
///
/// A list of messages, each with one key: a reader merges them. In a single message, the keys would be in
/// random order.
pub(crate) fn start(config: &Table) -> Result<Vec<u8>, protobuf::ProtobufError> {
    let mut keys = Vec::new();
    flatten("", config, &mut keys);
    let mut bytes = Vec::new();
    for (key, value) in keys {
        let hparams = [(key, value)].into_iter().collect();
        let info = SessionStartInfo {
            hparams,
            ..SessionStartInfo::default()
        };
        let one = data(HParamsPluginData_oneof_data::session_start_info(info));
        one.write_to_vec(&mut bytes)?;
    }
    Ok(bytes)
}

/// The message that the run ended.
pub(crate) fn end() -> Result<Vec<u8>, protobuf::ProtobufError> {
    let info = SessionEndInfo {
        status: Status::STATUS_SUCCESS,
        ..SessionEndInfo::default()
    };
    data(HParamsPluginData_oneof_data::session_end_info(info)).write_to_bytes()
}

fn data(data: HParamsPluginData_oneof_data) -> HParamsPluginData {
    HParamsPluginData {
        data: Some(data),
        ..HParamsPluginData::default()
    }
}

/// Adds the keys of a table with the names of its parents: `model.attention.kind`.
fn flatten(parent: &str, table: &Table, keys: &mut Vec<(String, ProtoValue)>) {
    for (key, value) in table {
        let key = match parent {
            "" => key.clone(),
            parent => format!("{parent}.{key}"),
        };
        let mut proto = ProtoValue::new();
        match value {
            Value::Table(table) => {
                flatten(&key, table, keys);
                continue;
            }
            Value::Integer(number) => proto.set_number_value(*number as f64),
            Value::Float(number) => proto.set_number_value(*number),
            Value::Boolean(is_set) => proto.set_bool_value(*is_set),
            Value::String(text) => proto.set_string_value(text.clone()),
            other => proto.set_string_value(other.to_string()),
        }
        keys.push((key, proto));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use protobuf::CodedInputStream;

    use super::*;

    #[test]
    fn every_key_of_the_configuration_is_a_hyperparameter() {
        let config = "seed = 3\n[model]\ncell = \"gru\"\n[model.attention]\nunits = 8\n[data]\nsplit = [0.9, 0.1]\nshuffle = true";
        let bytes = start(&config.parse().unwrap()).unwrap();
        // The messages follow each other; protobuf 2 replaces a message where other readers merge.
        let mut stream = CodedInputStream::from_bytes(&bytes);
        let mut hparams = HashMap::new();
        while !stream.eof().unwrap() {
            stream.read_tag().unwrap();
            let info = SessionStartInfo::parse_from_bytes(&stream.read_bytes().unwrap());
            hparams.extend(info.unwrap().hparams);
        }
        let number = |key: &str| hparams[key].get_number_value();
        assert_eq!(hparams.len(), 5);
        assert_eq!(
            (number("seed"), number("model.attention.units")),
            (3.0, 8.0)
        );
        assert_eq!(hparams["model.cell"].get_string_value(), "gru");
        assert_eq!(hparams["data.split"].get_string_value(), "[0.9, 0.1]");
        assert!(hparams["data.shuffle"].get_bool_value());
        assert_eq!(start(&config.parse().unwrap()).unwrap(), bytes);
    }
}
