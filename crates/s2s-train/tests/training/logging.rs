//! Logs that may fail, and the TensorBoard events of interrupted runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use protobuf::Message;
use s2s_runlog::{RunDir, RunRecord, RunStatus, list_folder, read_json};
use s2s_train::{Observer, Result, Run};
use tensorboard_proto::event::{Event, Event_oneof_what, SessionLog_SessionStatus};

use crate::{StopAt, StopInEval, finished, reproducible_files, runtime, tiny};

/// How often each step of each tag appears when TensorBoard reads a folder: files in the order of
/// their names, and a session start drops earlier events of its step or later.
fn shown(dir: &Path) -> BTreeMap<(String, i64), usize> {
    let mut shown = BTreeMap::new();
    for name in list_folder(dir).expect("a folder") {
        if !name.to_string_lossy().starts_with("events.out.tfevents.") {
            continue;
        }
        let bytes = fs::read(dir.join(name)).expect("an event file");
        let mut rest = bytes.as_slice();
        while let Some((len, after)) = rest.split_first_chunk::<8>() {
            let len = u64::from_le_bytes(*len) as usize;
            let event = Event::parse_from_bytes(&after[4..][..len]).expect("an event");
            rest = &after[4 + len + 4..];
            match &event.what {
                Some(Event_oneof_what::session_log(log))
                    if log.status == SessionLog_SessionStatus::START =>
                {
                    shown.retain(|(_, step), _| *step < event.step);
                }
                Some(Event_oneof_what::summary(summary)) => {
                    let tag = summary.value[0].tag.clone();
                    *shown.entry((tag, event.step)).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    shown
}

#[test]
fn tensorboard_shows_each_step_of_a_resumed_run_once() -> Result<()> {
    let config = tiny(&["train.eval_every=4", "train.epochs=8"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, _) = finished(&folder.path().join("whole"), &config)?;
    let expected = shown(whole.path());
    assert!(expected.len() > 80 && expected.values().all(|n| *n == 1));

    let path = folder.path().join("stopped");
    let mut run = Run::create(&path, config, "", &runtime())?;
    let mut stops: Vec<Box<dyn Observer>> = Vec::new();
    for step in [10, 13, 20, 30] {
        stops.push(Box::new(StopAt(step)));
    }
    stops.extend([1, 1, 2, 1].map(|n| Box::new(StopInEval(n)) as Box<dyn Observer>));
    for mut stop in stops {
        run.train(&mut [stop.as_mut()], |_| None)?;
        drop(run); // releases the lock
        run = Run::resume(&path, &runtime())?;
    }
    run.train(&mut [], |_| None)?;
    assert_eq!(shown(&path), expected);
    assert!(reproducible_files(run.dir()) == reproducible_files(&whole));
    Ok(())
}

#[test]
fn tensorboard_drops_steps_after_the_checkpoint_of_a_killed_run() -> Result<()> {
    let config = tiny(&["train.eval_every=4", "train.epochs=8"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, _) = finished(&folder.path().join("whole"), &config)?;
    let path = folder.path().join("killed");
    let mut run = Run::create(&path, config, "", &runtime())?;
    run.train(&mut [&mut StopAt(9)], |_| None)?;
    drop(run);
    let checkpoints = path.join("checkpoints");
    let aside = folder.path().join("aside");
    fs::rename(&checkpoints, &aside).expect("a run killed before its first checkpoint");
    for _ in 0..2 {
        let mut run = Run::resume(&path, &runtime())?;
        run.train(&mut [&mut StopAt(11)], |_| None)?;
        drop(run);
        fs::remove_dir_all(&checkpoints).expect("killed again");
    }
    fs::rename(&aside, &checkpoints).expect("a run killed later");
    Run::resume(&path, &runtime())?.train(&mut [], |_| None)?;
    assert_eq!(shown(&path), shown(whole.path()));
    Ok(())
}

#[test]
fn a_run_whose_logs_cannot_be_written_continues_and_records_it() -> Result<()> {
    let config = tiny(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, record) = finished(&folder.path().join("whole"), &config)?;
    assert!(record.degraded.is_empty());

    let path = folder.path().join("degraded");
    let mut run = Run::create(&path, config, "", &runtime())?;
    // A folder is in the place of each log.
    for log in [
        "timing.jsonl",
        "attention.jsonl",
        "samples.jsonl/in the way",
    ] {
        fs::create_dir_all(path.join(log)).expect("a folder");
    }
    let first = run.train(&mut [&mut StopAt(7)], |_| None)?;
    assert_eq!(first.status, RunStatus::Interrupted);
    drop(run);
    // The next process can write one of them, which then lacks the records of the first process.
    fs::remove_dir(path.join("timing.jsonl")).expect("an empty folder");
    let record = Run::resume(&path, &runtime())?.train(&mut [], |_| None)?;

    assert_eq!(record.status, RunStatus::Finished);
    let logs: Vec<(&str, u64)> = record
        .degraded
        .iter()
        .map(|failure| (failure.log.as_str(), failure.step))
        .collect();
    let best = record.best_step.expect("an evaluation");
    let expected = [
        ("timing.jsonl", 0),
        ("attention.jsonl", 0),
        ("samples.jsonl", best),
    ];
    assert_eq!(logs, expected);
    assert!(
        record.degraded[1]
            .reason
            .contains("is a folder, not a regular file")
    );

    let (own, other): (RunRecord, RunRecord) =
        (read_json(path.join("run.json"))?, read_json(whole.run())?);
    assert_eq!(own, record);
    assert_eq!(own.test, other.test);
    let dir = RunDir::open(&path)?;
    for file in ["metrics.jsonl", "checkpoints/last/params.safetensors"] {
        let read = |dir: &RunDir| fs::read(dir.path().join(file)).expect("a file of a run");
        assert!(read(&dir) == read(&whole), "{file}");
    }
    Ok(())
}

#[test]
fn a_run_whose_metrics_cannot_be_written_stops_and_can_be_resumed() -> Result<()> {
    let config = tiny(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, _) = finished(&folder.path().join("whole"), &config)?;
    let path = folder.path().join("stopped");
    let mut run = Run::create(&path, config, "", &runtime())?;
    fs::create_dir(path.join("metrics.jsonl")).expect("a folder");
    let error = run.train(&mut [], |_| None).expect_err("no metrics");
    assert!(error.to_string().contains("metrics.jsonl"), "{error}");
    drop(run);
    fs::remove_dir(path.join("metrics.jsonl")).expect("an empty folder");
    let mut run = Run::resume(&path, &runtime())?;
    run.train(&mut [], |_| None)?;
    assert!(reproducible_files(run.dir()) == reproducible_files(&whole));
    Ok(())
}
