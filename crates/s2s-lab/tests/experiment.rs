//! Whole experiments, with a program that only pretends to train.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use s2s_lab::{
    Error, Event, Options, Plan, Report, RunCommand, Select, Slurm, check_unchanged, collect,
    commands, publish_report, resolve_with, run_experiment, status, summary, write_report,
};
use tempfile::TempDir;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-s2s.sh");

const EXPERIMENT: &str = r#"
title = "Widths"
question = "Does width matter?"
config = "tests/fake-s2s.sh" # any file that exists
seeds = [1, 2]
plots = ["val_loss"]
table = ["exact_match"]
[[cell]]
name = "base"
[[cell]]
name = "wide"
set = ["model.hidden=512"]
"#;

const LENGTHS: &str = r#"
[[lengths]]
name = "far"
lengths = "8,16"
samples = 10
mode = "eos"
[[published]]
name = "Others"
source = "a paper"
group = "far"
exact_match = 0.25
"#;

/// An experiment file and its folder.
struct Lab {
    home: TempDir,
    events: Mutex<Vec<String>>,
}

impl Lab {
    fn new(experiment: &str) -> Self {
        let lab = Self {
            home: tempfile::tempdir().unwrap(),
            events: Mutex::new(Vec::new()),
        };
        lab.write("widths.toml", experiment);
        fs::create_dir(lab.path("out")).unwrap();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The commands since the last call.
    fn started(&self) -> Vec<String> {
        let started = fs::read_to_string(self.path("out/fake.started")).unwrap_or_default();
        self.write("out/fake.started", "");
        started.lines().map(str::to_owned).collect()
    }

    fn plan(&self) -> Result<Plan, Error> {
        let resolve = resolve_with(Path::new(FAKE));
        Plan::read(self.path("widths.toml"), self.path("out"), &resolve)
    }

    fn run_with(&self, env: &str, change: impl FnOnce(&mut Options<'_>)) -> Result<(), Error> {
        self.write("out/fake.env", env);
        let mut options = Options {
            s2s: Path::new(FAKE),
            parallel: NonZeroUsize::MIN,
            threads: None,
            select: Select::All,
            keeps_going: false,
            accepts_changes: false,
            is_lean: false,
            signal: None,
        };
        change(&mut options);
        let on_event = |event: Event| {
            self.events.lock().unwrap().push(event.to_string());
        };
        run_experiment(&self.plan()?, &options, &on_event)
    }

    fn run(&self, parallel: usize, env: &str) -> Result<Report, Error> {
        let parallel = NonZeroUsize::new(parallel).unwrap();
        self.run_with(env, |options| options.parallel = parallel)?;
        let report = collect(self.plan()?)?;
        write_report(&report)?;
        Ok(report)
    }

    /// The states that `--dry-run` shows, and its summary.
    fn states(&self) -> (Vec<String>, String) {
        let found = status(&self.plan().unwrap(), &Select::All, NonZeroUsize::MIN).unwrap();
        let states = found.states.into_iter().map(|(_, state)| state);
        (states.collect(), found.summary)
    }

    #[track_caller]
    fn check_fails(&self, expected: &str) -> Error {
        let error = self.run(1, "").unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        error
    }
}

fn tasks(accepts_changes: bool) -> RunCommand<'static> {
    RunCommand {
        s2s: Path::new("s2s"),
        accepts_changes,
        is_lean: false,
    }
}

#[test]
fn an_experiment_trains_each_cell_once_with_each_seed_and_writes_its_report() {
    let lab = Lab::new(EXPERIMENT);
    let report = lab.run(1, "").unwrap();
    let table = summary(&report);
    assert!(table.contains("0.91500 ± 0.00707"), "{table}");
    assert_eq!(
        lab.started(),
        [
            "train base-seed1",
            "train base-seed2",
            "train wide-seed1",
            "train wide-seed2"
        ]
    );
    let events = lab.events.lock().unwrap().clone();
    assert_eq!(
        events[..3],
        [
            "4 runs, 0 already finished",
            "[1/4] base-seed1: training",
            "[1/4] base-seed1: test exact match 0.9100, 3 s; about 0 s left"
        ]
    );
    for name in ["report.json", "plots/val_loss.svg", "plots/val_loss.png"] {
        assert!(lab.path("out").join(name).is_file(), "{name}");
    }
    let text = lab.read("out/report.md");
    assert!(text.contains("Does width matter?"), "{text}");

    lab.run(1, "").unwrap();
    assert!(lab.started().is_empty(), "finished runs are skipped");
    assert_eq!(lab.read("out/report.md"), text);
}

#[test]
fn interrupted_runs_are_resumed_and_absent_runs_are_started() {
    let lab = Lab::new(EXPERIMENT);
    lab.run(1, "FAKE_DIE='base-seed2'").unwrap_err();
    assert_eq!(lab.started(), ["train base-seed1", "train base-seed2"]);
    lab.run(1, "").unwrap();
    assert_eq!(
        lab.started(),
        ["train base-seed2", "train wide-seed1", "train wide-seed2"]
    );
}

#[test]
fn parallel_runs_give_the_same_report() {
    let [single, parallel] = [(); 2].map(|()| Lab::new(EXPERIMENT));
    single.run(1, "").unwrap();
    parallel.run(3, "").unwrap();
    let report = |lab: &Lab| {
        let home = lab.home.path().display().to_string();
        lab.read("out/report.md").replace(&home, "HOME")
    };
    assert_eq!(report(&single), report(&parallel));
}

#[test]
fn the_error_of_a_failed_run_names_its_messages() {
    let lab = Lab::new(EXPERIMENT);
    let error = lab.run(1, "FAKE_FAIL='wide-seed1'").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "wide-seed1 failed (exit status: 1): cannot; see {}",
            lab.path("out/logs/wide-seed1.log").display()
        )
    );
    assert!(!lab.path("out/report.md").exists());
    let events = lab.events.lock().unwrap().clone();
    assert!(
        events.contains(&"  try: again".to_owned()),
        "messages of a single run are shown"
    );

    let lab = Lab::new(EXPERIMENT);
    let error = lab.run(2, "FAKE_FAIL='wide-seed1'").unwrap_err();
    let log = lab.path("out/logs/wide-seed1.log");
    assert_eq!(
        error.to_string(),
        format!(
            "wide-seed1 failed (exit status: 1): cannot; see {}",
            log.display()
        )
    );
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "error: cannot\n  try: again\n"
    );
}

#[test]
fn a_changed_experiment_is_refused_before_any_run_starts() {
    let lab = Lab::new(EXPERIMENT);
    lab.run(1, "").unwrap();
    lab.started();
    let changed = EXPERIMENT
        .replace("512", "256")
        .replace("[1, 2]", "[1, 2, 3]");
    lab.write("widths.toml", &changed);
    let error = lab.check_fails("widths.toml is not the experiment that was started in ");
    let message = error.to_string();
    for line in [
        "  - seeds = [1, 2]",
        "  + seeds = [1, 2, 3]",
        "  + set = [\"model.hidden=256\"]",
    ] {
        assert!(message.contains(line), "{message}");
    }
    assert!(error.hint().unwrap().contains("--accept-changes"));
    assert!(lab.started().is_empty());

    lab.run_with("", |options| options.accepts_changes = true)
        .unwrap();
    let started = [
        "train base-seed3",
        "train wide-seed1",
        "train wide-seed2",
        "train wide-seed3",
    ];
    assert_eq!(lab.started(), started, "base-seed1 and base-seed2 are kept");
    lab.run(1, "").unwrap();
    assert!(lab.started().is_empty());
}

#[test]
fn another_base_configuration_is_another_experiment() {
    let lab = Lab::new(EXPERIMENT);
    lab.run(1, "").unwrap();
    let started = lab.read("out/experiment.toml");
    lab.write(
        "widths.toml",
        &started.replace("title", "set = [\"x=1\"]\ntitle"),
    );
    lab.write("out/experiment.toml", &lab.read("widths.toml"));
    lab.check_fails("  base: x was absent, is \"1\"");
}

#[test]
fn the_number_of_a_run_never_changes() {
    let lab = Lab::new(EXPERIMENT);
    lab.run(1, "").unwrap();
    let before = commands(&lab.plan().unwrap(), &tasks(false)).unwrap();
    assert_eq!(before.len(), 4);
    assert!(before[3].ends_with("/out --index 3"), "{}", before[3]);
    lab.write("widths.toml", &EXPERIMENT.replace("[1, 2]", "[2, 3]"));
    let after = commands(&lab.plan().unwrap(), &tasks(true)).unwrap();
    let numbers: Vec<&str> = after
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(numbers, ["1", "4", "3", "5"]); // base-seed2, base-seed3, wide-seed2, wide-seed3
}

#[test]
fn a_deleted_run_is_pending_and_a_damaged_one_is_reported_and_kept() {
    let lab = Lab::new(EXPERIMENT);
    lab.run(1, "").unwrap();
    lab.started();
    let folders: Vec<PathBuf> = lab
        .plan()
        .unwrap()
        .jobs()
        .into_iter()
        .map(|job| job.folder)
        .collect();
    fs::remove_dir_all(&folders[0]).unwrap();
    fs::write(folders[1].join("run.json"), "{").unwrap();
    assert_eq!(lab.states().0, ["pending", "conflict", "done", "done"]);
    let error = lab.check_fails("base-seed2-");
    assert!(error.hint().unwrap().contains("move these folders"));
    assert!(
        lab.started().is_empty(),
        "nothing starts, and nothing is overwritten"
    );
    assert_eq!(
        fs::read_to_string(folders[1].join("run.json")).unwrap(),
        "{"
    );
    fs::remove_dir_all(&folders[1]).unwrap();
    lab.run(1, "").unwrap();
    assert_eq!(lab.started(), ["train base-seed1", "train base-seed2"]);
}

#[test]
fn halving_is_refused_for_other_engines() {
    let lab = Lab::new(&format!("{EXPERIMENT}[halving]\nsteps = [1, 2]\n"));
    let error = commands(&lab.plan().unwrap(), &tasks(false)).unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("[halving]"),
        "{error}"
    );
}

#[test]
fn a_changed_halving_is_another_experiment() {
    let halving = |keep| format!("{EXPERIMENT}[halving]\nsteps = [1, 2]\nkeep = {keep}\n");
    let lab = Lab::new(&halving(2));
    lab.run(1, "").unwrap();
    lab.write("widths.toml", &halving(3));
    lab.check_fails("  + keep = 3");
    let plan = lab.plan().unwrap();
    assert!(matches!(check_unchanged(&plan), Err(Error::Changed { .. })));
}

#[test]
fn a_budget_is_refused_where_one_process_cannot_count_it() {
    let lab = Lab::new(&format!("{EXPERIMENT}[budget]\nruns = 3\n"));
    let plan = lab.plan().unwrap();
    let error = commands(&plan, &tasks(false)).unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("[budget]"),
        "{error}"
    );
    let index = lab.run_with("", |options| options.select = Select::Index(0));
    assert!(index.unwrap_err().to_string().contains("[budget]"));
    assert!(lab.started().is_empty());
}

#[test]
fn a_budget_of_time_counts_every_run_and_its_evaluations() {
    // Each run takes 3 s of training; 7 s are spent after the third.
    let lab = Lab::new(&format!("{EXPERIMENT}[budget]\ntime = \"7s\"\n"));
    lab.run_with("", |_| {}).unwrap();
    assert_eq!(lab.started().len(), 3);
    for job in lab.plan().unwrap().jobs() {
        let timing = job.folder.join("timing.jsonl");
        let _ = fs::remove_file(timing); // as if they had cost nothing
    }
    lab.run_with("", |options| {
        options.select = Select::Only("wide".to_owned())
    })
    .unwrap();
    assert_eq!(lab.started(), ["train wide-seed2"]);
}

#[test]
fn a_signal_is_sent_on_and_its_run_has_not_failed() {
    let lab = Lab::new(EXPERIMENT);
    static SIGNAL: AtomicUsize = AtomicUsize::new(0);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while lab.started().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(300)); // until the run has its handler
            SIGNAL.store(15, Ordering::SeqCst);
        });
        lab.run_with("FAKE_SLOW='base-seed1'", |options| {
            options.signal = Some(&SIGNAL);
        })
    });
    assert!(
        matches!(result, Err(Error::Interrupted { signal: 15 })),
        "{result:?}"
    );
    assert!(lab.started().is_empty(), "no other run starts");
    assert_eq!(lab.states().0, ["pending"; 4]);
}

#[test]
fn a_run_with_a_damaged_record_is_left_out_of_the_report() {
    let lab = Lab::new(EXPERIMENT);
    lab.run(1, "").unwrap();
    let folder = lab.plan().unwrap().jobs()[1].folder.clone();
    fs::write(folder.join("metrics.jsonl"), "{\n{}\n").unwrap();
    let report = collect(lab.plan().unwrap()).unwrap();
    assert_eq!((report.outcomes.len(), report.damaged.len()), (3, 1));
    assert!(
        report.damaged[0].1.contains("metrics.jsonl"),
        "{:?}",
        report.damaged
    );
    let (states, summary) = lab.states();
    assert!(states[1].starts_with("damaged: "), "{states:?}");
    assert!(
        summary.starts_with("4 runs: 1 damaged, 3 done"),
        "{summary}"
    );

    lab.write("out/runs.json", "{");
    let error = collect_numbers(&lab);
    assert!(
        error.hint().unwrap().contains("move this file away"),
        "{error}"
    );
}

fn collect_numbers(lab: &Lab) -> Error {
    status(&lab.plan().unwrap(), &Select::All, NonZeroUsize::MIN).unwrap_err()
}

#[test]
fn nothing_is_written_to_show_what_would_be_submitted() {
    let lab = Lab::new(EXPERIMENT);
    let (script, commands) = Slurm::default()
        .plan(&lab.plan().unwrap(), &tasks(false))
        .unwrap();
    assert!(
        script.contains("--index $((SLURM_ARRAY_TASK_ID"),
        "{script}"
    );
    assert_eq!(commands.len(), 1);
    let lean = RunCommand {
        is_lean: true,
        ..tasks(false)
    };
    let (script, _) = Slurm::default().plan(&lab.plan().unwrap(), &lean).unwrap();
    assert!(script.contains(" --lean --index "), "{script}");
    assert_eq!(fs::read_dir(lab.path("out")).unwrap().count(), 0);
}

#[test]
fn a_selection_is_listed_and_its_time_is_that_of_the_runs_at_a_time() {
    let lab = Lab::new(EXPERIMENT);
    lab.run_with("", |options| {
        options.select = Select::Only("base".to_owned())
    })
    .unwrap();
    let plan = lab.plan().unwrap();
    let two = NonZeroUsize::new(2).unwrap();
    let found = status(&plan, &Select::Only("seed2".to_owned()), two).unwrap();
    let names: Vec<&str> = found.states.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["base-seed2", "wide-seed2"]);
    let found = status(&plan, &Select::All, two).unwrap();
    assert_eq!(
        found.summary,
        "4 runs: 2 done, 2 pending; about 3 s left, 2 runs at a time"
    );
    assert_eq!(found.cells[1].left_secs, Some(6.0));
    let found = status(&plan, &Select::Index(3), two).unwrap();
    assert_eq!(found.states.len(), 1);
}

#[test]
fn lean_runs_of_halving_are_lean_after_the_last_rung() {
    let lab = Lab::new(&format!(
        "{EXPERIMENT}[halving]\nsteps = [1, 2]\nkeep = 2\n"
    ));
    let last = |job: &s2s_lab::Job| job.folder.join("checkpoints/last").exists();
    lab.run_with("FAKE_FAIL='wide-seed2'", |options| options.is_lean = true)
        .unwrap_err();
    let jobs = lab.plan().unwrap().jobs();
    assert!(last(&jobs[0]), "it may be extended");
    lab.run_with("", |options| options.is_lean = true).unwrap();
    assert!(lab.started().contains(&"resume base-seed1 2".to_owned()));
    assert!(!jobs.iter().any(last), "all are lean at the end");
}

#[test]
fn some_of_the_runs_can_be_selected() {
    let lab = Lab::new(EXPERIMENT);
    let select = |select| lab.run_with("", |options| options.select = select);
    select(Select::Index(3)).unwrap();
    assert_eq!(lab.started(), ["train wide-seed2"]);
    select(Select::Only("base".to_owned())).unwrap();
    assert_eq!(lab.started(), ["train base-seed1", "train base-seed2"]);
    select(Select::Only("*seed1".to_owned())).unwrap();
    assert_eq!(lab.started(), ["train wide-seed1"]);
    let error = select(Select::Index(4)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no run 4: the numbers are 0 to 3"
    );
    let error = select(Select::Only("x".to_owned())).unwrap_err();
    assert!(error.is_usage(), "{error}");
}

#[test]
fn other_runs_continue_after_a_failure_if_they_are_to() {
    let lab = Lab::new(EXPERIMENT);
    let result = lab.run_with("FAKE_FAIL='base-*'", |options| options.keeps_going = true);
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("base-seed2 failed")
    );
    let (states, summary) = lab.states();
    assert!(states[0] == "failed: cannot (exit status: 1)", "{states:?}");
    assert_eq!(states[2..], ["done", "done"]);
    assert_eq!(
        summary,
        "4 runs: 2 done, 2 failed; about 6 s left, one run at a time"
    );
    let report = collect(lab.plan().unwrap()).unwrap();
    assert_eq!((report.outcomes.len(), report.pending.len()), (2, 2));
    write_report(&report).unwrap();
    assert!(
        lab.read("out/report.md")
            .contains("missing: base-seed1, base-seed2.")
    );

    lab.run_with("", |_| {}).unwrap();
    assert_eq!(lab.states().0, ["done"; 4]);
}

#[test]
fn a_run_of_another_process_is_left_to_it() {
    let lab = Lab::new(EXPERIMENT);
    lab.run_with("FAKE_BUSY='base-seed2'", |_| {}).unwrap();
    let events = lab.events.lock().unwrap().clone();
    let expected = "[2/4] base-seed2: another process is working on it";
    assert!(events.contains(&expected.to_owned()), "{events:?}");
    assert_eq!(lab.states().0, ["done", "pending", "done", "done"]);
}

#[test]
fn a_task_of_a_started_experiment_resolves_its_own_cell() {
    let lab = Lab::new(EXPERIMENT);
    lab.run(1, "").unwrap();
    let read = |number| {
        let n_calls = AtomicUsize::new(0);
        let resolve = |config: Option<&Path>, sets: &[String]| {
            n_calls.fetch_add(1, Ordering::Relaxed);
            resolve_with(Path::new(FAKE))(config, sets)
        };
        let (file, out) = (lab.path("widths.toml"), lab.path("out"));
        let plan = Plan::read_run(file, out, number, &resolve).unwrap();
        let names: Vec<String> = plan.jobs().iter().map(s2s_lab::Job::name).collect();
        (names, n_calls.into_inner())
    };
    assert_eq!(read(3), (vec!["wide-seed2".to_owned()], 1));
    assert_eq!(read(1), (vec!["base-seed2".to_owned()], 1));
    assert_eq!(
        read(4).1,
        2,
        "there is no such run: the whole experiment is read"
    );
    lab.write("widths.toml", &EXPERIMENT.replace("512", "256"));
    assert_eq!(read(3).1, 2, "the file has changed");
}

#[test]
fn halving_extends_the_best_cells() {
    let halving =
        "[[cell]]\nname = \"third\"\nset = [\"y=1\"]\n[halving]\nsteps = [1, 2]\nkeep = 2\n";
    let lab = Lab::new(&format!("{EXPERIMENT}{halving}"));
    let report = lab.run(1, "FAKE_LOSS='wide-*'").unwrap();
    assert_eq!(
        lab.started()[6..],
        [
            "resume base-seed1 2",
            "resume base-seed2 2",
            "resume wide-seed1 2",
            "resume wide-seed2 2"
        ],
        "two of three cells are kept: the best one, and the first of the others"
    );
    assert_eq!(report.outcomes.len(), 6);
    lab.run(1, "FAKE_LOSS='wide-*'").unwrap();
    assert!(lab.started().is_empty(), "everything is finished");
}

#[test]
fn lean_runs_keep_what_the_report_needs() {
    let lab = Lab::new(EXPERIMENT);
    lab.run_with("", |options| options.is_lean = true).unwrap();
    for job in lab.plan().unwrap().jobs() {
        assert!(!job.folder.join("plots").exists());
        assert!(!job.folder.join("checkpoints/last").exists());
        assert!(job.folder.join("checkpoints/best/params").is_file());
    }
    collect(lab.plan().unwrap()).unwrap();
    lab.run(1, "").unwrap();
    assert_eq!(lab.states().0, ["done"; 4]);
}

#[test]
fn a_spent_budget_gives_each_cell_its_first_seed() {
    let lab = Lab::new(&format!("{EXPERIMENT}[budget]\nruns = 3\n"));
    lab.run_with("", |_| {}).unwrap();
    assert_eq!(
        lab.started(),
        ["train base-seed1", "train wide-seed1", "train base-seed2"]
    );
    let events = lab.events.lock().unwrap().clone();
    assert_eq!(
        events.last().unwrap(),
        "the budget is spent; 1 run was not started"
    );
    lab.run_with("", |_| {}).unwrap();
    assert!(lab.started().is_empty(), "finished runs count");
}

#[test]
fn runs_are_evaluated_by_length_and_interrupted_evaluations_are_resumed() {
    let lab = Lab::new(&format!("{EXPERIMENT}{LENGTHS}"));
    let error = lab.run(1, "FAKE_DIE_EVAL='base-seed2'").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "evaluating base-seed2 by length (far) failed (exit status: 130): see {}",
            lab.path("out/logs/base-seed2.log").display()
        )
    );
    assert_eq!(
        lab.started(),
        [
            "train base-seed1",
            "eval base-seed1",
            "train base-seed2",
            "eval base-seed2"
        ]
    );
    let report = lab.run(1, "").unwrap();
    assert_eq!(
        lab.started(),
        [
            "eval base-seed2",
            "train wide-seed1",
            "eval wide-seed1",
            "train wide-seed2",
            "eval wide-seed2"
        ]
    );
    let tables = summary(&report);
    assert!(tables.contains("0.52500 ± 0.03536"), "{tables}"); // of 0.9 and 0.1, 0.9 and 0.2
    let text = lab.read("out/report.md");
    for part in [
        "## By length",
        "90.0 (0 of 2) ",
        "15.0 (0 of 2) [", // of 1 and 2 in 10
        "* **base**, **wide**, `eos`, 2 lengths from 8 to 16: the first error is at length 8;",
        "| Others",
        "published: a paper",
        "plots/lengths-eos.svg",
        "--lengths 8,16 --samples 10 --mode eos --name far",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let table = lab.read("out/lengths.csv");
    assert_eq!(table.lines().count(), 1 + 2 * 2, "{table}");
    assert!(lab.path("out/plots/lengths-eos.png").is_file());

    lab.run(1, "").unwrap();
    assert!(lab.started().is_empty(), "complete evaluations are skipped");
    let changed = format!("{EXPERIMENT}{LENGTHS}").replace("samples = 10", "samples = 20");
    lab.write("widths.toml", &changed);
    lab.check_fails("  + samples = 20");
    assert!(lab.started().is_empty());
}

#[test]
fn evaluations_that_an_accepted_change_replaces_are_set_aside() {
    let lab = Lab::new(&format!("{EXPERIMENT}{LENGTHS}"));
    lab.run(1, "").unwrap();
    lab.started();
    let folder = lab.plan().unwrap().jobs()[0].folder.clone();
    let before = fs::read(folder.join("lengths-far.json")).unwrap();
    let changed = format!("{EXPERIMENT}{LENGTHS}").replace("samples = 10", "samples = 20");
    lab.write("widths.toml", &changed);
    lab.run_with("", |options| options.accepts_changes = true)
        .unwrap();
    let started = lab.started();
    assert_eq!(
        started.len(),
        4,
        "every run is evaluated, none is trained: {started:?}"
    );
    assert_eq!(
        fs::read(folder.join("lengths-far.json.old-1")).unwrap(),
        before
    );
    assert_ne!(fs::read(folder.join("lengths-far.json")).unwrap(), before);
    lab.run(1, "").unwrap();
    assert!(lab.started().is_empty());
}

#[test]
fn a_published_report_has_all_its_pictures() {
    let lab = Lab::new(&format!("{EXPERIMENT}{LENGTHS}"));
    let report = lab.run(1, "").unwrap();
    let path = publish_report(&report, &lab.path("published")).unwrap();
    assert_eq!(path, lab.path("published/report.md"));
    let text = lab.read("published/report.md");
    assert_eq!(text, lab.read("out/report.md"));
    let pictures: Vec<&str> = text
        .split("](plots/")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    assert_eq!(
        pictures,
        ["seeds-exact_match.svg", "lengths-eos.svg", "val_loss.svg"]
    );
    for picture in pictures {
        assert!(
            lab.path("published/plots").join(picture).is_file(),
            "{picture}"
        );
    }
}

#[test]
fn invalid_configurations_are_usage_errors() {
    let bad = Lab::new(&EXPERIMENT.replace("model.hidden", "bad"));
    assert!(
        bad.check_fails("cell \"wide\" is not valid:\nunknown key \"bad\"")
            .is_usage()
    );
    let absent = Lab::new(&EXPERIMENT.replace("tests/fake", "tests/absent"));
    assert!(absent.check_fails("no file tests/absent-s2s.sh").is_usage());
    assert!(Lab::new("").check_fails("widths.toml: ").is_usage());
}
