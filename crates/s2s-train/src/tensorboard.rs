//! Writes event files for TensorBoard.
//!
//! Of `tensorboard-rs`, only the record framing ([`RecordWriter`]) and the message types below it
//! are used: its own writer panics on a full disk, truncates a file created in the same second, and
//! supports neither text nor histograms.
//!
//! A file is a sequence of records, each a message with its length and checksums:
//!
//! ```text
//! length u64 | masked CRC-32C of the length u32 | message | masked CRC-32C of the message u32
//! ```
//!
//! Each record is written in one call, so a killed process leaves complete records and at most one
//! partial record, which readers skip. Events contain the wall time, the only difference between
//! the event files of two runs with the same configuration and seed.

use protobuf::{Message, RepeatedField, SingularPtrField};
use s2s_runlog::{Error as RunLogError, GrowingFile, list_folder, system_file};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tensorboard_proto::event::{Event, Event_oneof_what, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::{
    HistogramProto, Summary, Summary_Image, Summary_Value, Summary_Value_oneof_value,
    SummaryMetadata, SummaryMetadata_PluginData,
};
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::{TensorShapeProto, TensorShapeProto_Dim};
use tensorboard_proto::types::DataType;
use tensorboard_rs::record_writer::RecordWriter;

use crate::hparams;

/// Prefix of the names of event files.
const PREFIX: &str = "events.out.tfevents.";

/// Format version of the events; readers handle session logs from version 2 on.
const VERSION: &str = "brain.Event:2";

/// Buckets of a histogram: TensorBoard's default.
const BUCKETS: usize = 30;

/// Why an event could not be logged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The event file cannot be created or written; events before this one are intact.
    #[error(transparent)]
    File(#[from] RunLogError),
    /// The event cannot be encoded because it is too large.
    #[error("cannot encode an event for {}", path.display())]
    Encode {
        /// The event file.
        path: PathBuf,
        /// Why.
        source: protobuf::ProtobufError,
    },
}

/// An event file that is open for appending: for scalars, texts, pictures and histograms of your own, in
/// addition to what a run logs.
///
/// ```
/// use s2s_train::EventWriter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let mut events = EventWriter::create(folder.path())?;
/// events.scalar(100, "loss/mine", 0.25)?;
/// events.histogram(100, "weights", &[0.1, -0.3, 0.2])?;
/// events.flush()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventWriter {
    file: GrowingFile,
}

impl EventWriter {
    /// Whether a folder contains an event file.
    pub(crate) fn exists_in(dir: &Path) -> bool {
        list_folder(dir).is_ok_and(|names| names.iter().any(|name| seconds_of(name).is_some()))
    }

    /// Creates an event file whose name sorts after those already in the folder.
    ///
    /// # Errors
    /// [`EventError::File`] if the folder cannot be read or written.
    pub fn create(dir: &Path) -> Result<Self, EventError> {
        let file = create_file(dir)?;
        let mut writer = Self { file };
        writer.write(0, Event_oneof_what::file_version(VERSION.to_owned()))?;
        Ok(writer)
    }

    /// Creates an event file for a run that resumes after `step`. Readers drop later steps of
    /// earlier files, which would otherwise appear twice.
    ///
    /// # Errors
    /// As [`EventWriter::create`].
    pub fn resume(dir: &Path, step: u64) -> Result<Self, EventError> {
        let mut writer = Self::create(dir)?;
        let start = SessionLog {
            status: SessionLog_SessionStatus::START,
            ..SessionLog::default()
        };
        // Readers drop the step of a session start and all later steps.
        writer.write(step.saturating_add(1), Event_oneof_what::session_log(start))?;
        Ok(writer)
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// A point of a curve.
    ///
    /// # Errors
    /// [`EventError::File`]; later events may still be written.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f64) -> Result<(), EventError> {
        let value = Summary_Value_oneof_value::simple_value(value as f32); // the format has only f32
        self.summary(step, tag, value, None)
    }

    /// A text, shown as Markdown.
    ///
    /// # Errors
    /// As [`EventWriter::scalar`].
    pub fn text(&mut self, step: u64, tag: &str, markdown: &str) -> Result<(), EventError> {
        let dim = TensorShapeProto_Dim {
            size: 1,
            ..TensorShapeProto_Dim::default()
        };
        let shape = TensorShapeProto {
            dim: RepeatedField::from_vec(vec![dim]),
            ..TensorShapeProto::default()
        };
        let tensor = TensorProto {
            dtype: DataType::DT_STRING,
            tensor_shape: SingularPtrField::some(shape),
            string_val: RepeatedField::from_vec(vec![markdown.as_bytes().to_vec()]),
            ..TensorProto::default()
        };
        self.summary(
            step,
            tag,
            Summary_Value_oneof_value::tensor(tensor),
            Some(("text", Vec::new())),
        )
    }

    /// An image: the bytes of a PNG file, with its width and height in pixels.
    ///
    /// # Errors
    /// As [`EventWriter::scalar`].
    pub fn image(
        &mut self,
        step: u64,
        tag: &str,
        png: &[u8],
        width: u32,
        height: u32,
    ) -> Result<(), EventError> {
        let image = Summary_Image {
            width: i32::try_from(width).unwrap_or(i32::MAX),
            height: i32::try_from(height).unwrap_or(i32::MAX),
            colorspace: 3, // RGB
            encoded_image_string: png.to_vec(),
            ..Summary_Image::default()
        };
        self.summary(step, tag, Summary_Value_oneof_value::image(image), None)
    }

    /// A histogram with buckets of equal width. Values that are not finite are skipped; if none is
    /// finite, nothing is written.
    ///
    /// # Errors
    /// As [`EventWriter::scalar`].
    pub fn histogram(&mut self, step: u64, tag: &str, values: &[f32]) -> Result<(), EventError> {
        match distribution(values) {
            Some(histogram) => {
                self.summary(step, tag, Summary_Value_oneof_value::histo(histogram), None)
            }
            None => Ok(()),
        }
    }

    /// The configuration of the run, whose keys are the hyperparameters of the HParams dashboard.
    ///
    /// # Errors
    /// As [`EventWriter::scalar`].
    pub fn hparams(&mut self, config: &toml::Table) -> Result<(), EventError> {
        self.hparams_message(0, hparams::START, hparams::start(config))
    }

    /// The end of the run after `step`, for the HParams dashboard.
    ///
    /// # Errors
    /// As [`EventWriter::scalar`].
    pub fn end(&mut self, step: u64) -> Result<(), EventError> {
        self.hparams_message(step, hparams::END, hparams::end())
    }

    /// A message of the HParams dashboard is metadata of an empty tensor.
    fn hparams_message(
        &mut self,
        step: u64,
        tag: &str,
        message: Result<Vec<u8>, protobuf::ProtobufError>,
    ) -> Result<(), EventError> {
        let message = message.map_err(|source| EventError::Encode {
            path: self.path().to_owned(),
            source,
        })?;
        let empty = TensorShapeProto {
            dim: RepeatedField::from_vec(vec![TensorShapeProto_Dim::default()]),
            ..TensorShapeProto::default()
        };
        let tensor = TensorProto {
            dtype: DataType::DT_FLOAT,
            tensor_shape: SingularPtrField::some(empty),
            ..TensorProto::default()
        };
        let value = Summary_Value_oneof_value::tensor(tensor);
        self.summary(step, tag, value, Some(("hparams", message)))
    }

    /// Makes the events durable across a power loss. They survive the end of the process without
    /// it.
    ///
    /// # Errors
    /// [`EventError::File`].
    pub fn flush(&mut self) -> Result<(), EventError> {
        Ok(self.file.sync()?)
    }

    fn summary(
        &mut self,
        step: u64,
        tag: &str,
        value: Summary_Value_oneof_value,
        plugin: Option<(&str, Vec<u8>)>,
    ) -> Result<(), EventError> {
        let metadata = plugin.map(|(name, content)| SummaryMetadata {
            plugin_data: SingularPtrField::some(SummaryMetadata_PluginData {
                plugin_name: name.to_owned(),
                content,
                ..SummaryMetadata_PluginData::default()
            }),
            ..SummaryMetadata::default()
        });
        let value = Summary_Value {
            tag: tag.to_owned(),
            metadata: metadata.into(),
            value: Some(value),
            ..Summary_Value::default()
        };
        let summary = Summary {
            value: RepeatedField::from_vec(vec![value]),
            ..Summary::default()
        };
        self.write(step, Event_oneof_what::summary(summary))
    }

    fn write(&mut self, step: u64, what: Event_oneof_what) -> Result<(), EventError> {
        let event = Event {
            wall_time: unix_secs(),
            step: i64::try_from(step).unwrap_or(i64::MAX),
            what: Some(what),
            ..Event::default()
        };
        let path = self.path();
        let message = event
            .write_to_bytes()
            .map_err(|source| EventError::Encode {
                path: path.to_owned(),
                source,
            })?;
        let mut record = Vec::new();
        RecordWriter::new(&mut record)
            .write(&message)
            .expect("writing to a vector cannot fail");
        Ok(self.file.append(&record)?)
    }
}

/// Creates a new file named `events.out.tfevents.<seconds>.<host>.<process>.<number>`.
///
/// Readers process the files of a folder in the order of their names, so the seconds are later than
/// those of every existing file, even if a run resumes within the same second or the clock was set
/// back.
fn create_file(dir: &Path) -> Result<GrowingFile, RunLogError> {
    let names = list_folder(dir)?;
    let others = names.iter().filter_map(seconds_of);
    let secs = others.fold(unix_secs() as u64, |secs, other| {
        secs.max(other.saturating_add(1))
    });
    let (host, process) = (host(), std::process::id());
    let mut number = 0;
    loop {
        let path = dir.join(format!("{PREFIX}{secs:010}.{host}.{process}.{number}"));
        match GrowingFile::create(path) {
            Err(RunLogError::Write { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                number += 1;
            }
            result => return result,
        }
    }
}

/// The seconds in the name of an event file.
fn seconds_of(name: &OsString) -> Option<u64> {
    let rest = name.to_str()?.strip_prefix(PREFIX)?;
    rest.split('.').next()?.parse().ok()
}

/// The host name, restricted to characters that are safe in a file name.
fn host() -> String {
    let name = system_file("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_safe = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let name: String = name.chars().filter(is_safe).take(64).collect();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

fn unix_secs() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// `bucket[i]` values lie between `bucket_limit[i - 1]` (the minimum for the first) and
/// `bucket_limit[i]`. A single bucket if all values are equal.
fn distribution(values: &[f32]) -> Option<HistogramProto> {
    let finite = || {
        values
            .iter()
            .filter(|value| value.is_finite())
            .map(|&value| f64::from(value))
    };
    let num = finite().count();
    let (min, max) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
    let columns = if min < max { BUCKETS } else { 1 };
    let width = (max - min) / columns as f64;
    let mut bucket = vec![0.0; columns];
    for value in finite() {
        let column = ((value - min) / width) as usize; // 0/0 is NaN, which casts to 0
        bucket[column.min(columns - 1)] += 1.0;
    }
    let bucket_limit = (1..=columns).map(|i| {
        if i < columns {
            min + width * i as f64
        } else {
            max
        }
    });
    Some(HistogramProto {
        min,
        max,
        num: num as f64,
        sum: finite().sum(),
        sum_squares: finite().map(|value| value * value).sum(),
        bucket_limit: bucket_limit.collect(),
        bucket,
        ..HistogramProto::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tensorboard_rs::masked_crc32c::masked_crc32c;

    /// The events of a file; panics unless it consists of complete records.
    #[track_caller]
    fn events(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut take = |n: usize| {
            let (taken, after) = rest.split_at(n);
            rest = after;
            (taken, after.is_empty())
        };
        let crc = |bytes: &[u8]| masked_crc32c(bytes).to_le_bytes();
        let mut events = Vec::new();
        loop {
            let (len, _) = take(8);
            assert_eq!(take(4).0, crc(len), "checksum of a length");
            let (message, _) = take(u64::from_le_bytes(len.try_into().unwrap()) as usize);
            let (found, is_last) = take(4);
            assert_eq!(found, crc(message), "checksum of a message");
            events.push(Event::parse_from_bytes(message).unwrap());
            if is_last {
                return events;
            }
        }
    }

    #[track_caller]
    fn value(event: &Event) -> &Summary_Value {
        let Some(Event_oneof_what::summary(summary)) = &event.what else {
            panic!("{event:?}")
        };
        &summary.value[0]
    }

    #[test]
    fn a_file_consists_of_records_and_starts_with_the_version() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path()).unwrap();
        writer.scalar(3, "loss/train", 0.5).unwrap();
        writer.text(4, "config", "a *text*").unwrap();
        writer.image(5, "attention", b"PNG", 20, 10).unwrap();
        writer.flush().unwrap();

        let events = events(writer.path());
        assert_eq!(
            events[0].what,
            Some(Event_oneof_what::file_version(VERSION.to_owned()))
        );
        assert_eq!(
            events.iter().map(|event| event.step).collect::<Vec<_>>(),
            [0, 3, 4, 5]
        );
        let [scalar, text, image] = [&events[1], &events[2], &events[3]].map(value);
        assert_eq!(
            (scalar.get_tag(), scalar.get_simple_value()),
            ("loss/train", 0.5)
        );
        assert_eq!(
            text.get_metadata().get_plugin_data().get_plugin_name(),
            "text"
        );
        assert_eq!(text.get_tensor().get_string_val(), [b"a *text*"]);
        assert_eq!(
            (image.get_image().width, image.get_image().height),
            (20, 10)
        );
        assert_eq!(image.get_image().encoded_image_string, b"PNG");
    }

    #[test]
    fn a_resumed_file_starts_after_the_resumed_step() {
        let dir = tempfile::tempdir().unwrap();
        let writer = EventWriter::resume(dir.path(), 7).unwrap();
        let events = events(writer.path());
        let Some(Event_oneof_what::session_log(log)) = &events[1].what else {
            panic!()
        };
        assert_eq!(
            (log.status, events[1].step),
            (SessionLog_SessionStatus::START, 8)
        );
    }

    #[test]
    fn files_of_the_same_second_sort_in_order_of_creation() {
        let dir = tempfile::tempdir().unwrap();
        let created: Vec<_> = (0..12)
            .map(|_| EventWriter::create(dir.path()).unwrap().path().to_owned())
            .collect();
        assert!(created.is_sorted(), "{created:?}");
        assert!(created.iter().all(|path| events(path).len() == 1));
    }

    #[test]
    fn a_histogram_counts_every_finite_value_once() {
        let values = [1.0, 2.0, 2.5, f32::NAN, 4.0, f32::INFINITY, -1.0];
        let histogram = distribution(&values).unwrap();
        assert_eq!(
            (histogram.min, histogram.max, histogram.num),
            (-1.0, 4.0, 5.0)
        );
        assert_eq!((histogram.sum, histogram.sum_squares), (8.5, 28.25));
        assert_eq!(histogram.bucket.iter().sum::<f64>(), 5.0);
        assert_eq!(histogram.bucket_limit.len(), BUCKETS);
        assert!(histogram.bucket_limit.is_sorted());
        assert_eq!(distribution(&[3.0, 3.0]).unwrap().bucket, [2.0]);
        assert_eq!(distribution(&[f32::NAN]), None);
    }

    #[test]
    fn an_unreadable_folder_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = EventWriter::create(file.path()).unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {}", file.path().display()));
    }
}
