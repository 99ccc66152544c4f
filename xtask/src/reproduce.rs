//! The measurements behind the tables of README.md and docs/.

mod joeynmt;
mod rows;
mod simd;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use s2s_lab::process::{command, status, stdout};
use s2s_lab::{
    Options, Plan, Report, Select, collect, publish_report, resolve_with, run_experiment, utc_date,
    write_report,
};
use s2s_runlog::RunDir;

use crate::bench::setting::cpu_name;
use crate::docs::{self, Table};
use crate::{Usage, release};

/// Repeat the measurements behind the tables of README.md and docs/, and rewrite the tables
///
/// Without a name, lists the measurements with the time that they take. A measurement that was
/// interrupted continues. Results are the same on one CPU model; times are not: use a quiet machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask reproduce
  cargo xtask reproduce default
  cargo xtask reproduce mechanisms --jobs 2

Output:
  runs/reproduce/ runs/experiments/NAME/     the runs
  configs/experiments/reports/NAME/          the report of an experiment
  docs/measurements/TABLE.json               the table, which is also written where it stands")]
pub(crate) struct Args {
    /// Name of the measurement; without it, all are listed
    name: Option<String>,
    /// Runs at a time, for experiments; a single run uses all cores
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
    /// Threads of each run of an experiment [default: all cores, shared by the runs]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Use this `s2s` instead of building one; relative to the top of the repository
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Continue an experiment although its file was changed since it was started
    #[arg(long)]
    accept_changes: bool,
    /// A Python that has the program to compare with
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

struct Measurement {
    name: &'static str,
    /// What it is.
    what: &'static str,
    /// About how long it takes on two cores.
    takes: &'static str,
    run: fn(&Lab<'_>) -> Result<()>,
}

/// In the order of docs/results.md; then those of other pages.
const ALL: [Measurement; 17] = [
    Measurement {
        name: "default",
        what: "three runs of the default configuration",
        takes: "1 min",
        run: |lab| lab.seeds(),
    },
    Measurement {
        name: "notebook",
        what: "one run of configs/notebook.toml",
        takes: "7 min",
        run: |lab| lab.notebook(),
    },
    Measurement {
        name: "teacher-forcing",
        what: "ratio, schedule, per batch or per sequence",
        takes: "10 min",
        run: |lab| lab.whole("teacher-forcing", rows::teacher_forcing),
    },
    Measurement {
        name: "deepmind",
        what: "two symbols, lengths 41 to 100,000",
        takes: "15 min",
        run: |lab| lab.part_of(&lab.experiment("deepmind")?, "by-length", 1, rows::deepmind),
    },
    Measurement {
        name: "grefenstette",
        what: "128 symbols, lengths 65 to 640",
        takes: "5 min",
        run: |lab| {
            lab.part_of(
                &lab.experiment("grefenstette")?,
                "by-length",
                4,
                rows::grefenstette,
            )
        },
    },
    Measurement {
        name: "joeynmt",
        what: "text; first: python3 scripts/joeynmt_data.py corpora/joeynmt",
        takes: "5 min",
        run: |lab| lab.part_of(&lab.experiment("joeynmt")?, "by-length", 6, rows::joeynmt),
    },
    Measurement {
        name: "joeynmt-tutorial",
        what: "JoeyNMT and this program, with the settings of its tutorial; needs --python",
        takes: "15 min",
        run: joeynmt::measure,
    },
    Measurement {
        name: "g2p",
        what: "pronunciation, five seeds; first: python3 scripts/cmudict_data.py cmudict.tsv",
        takes: "2 h",
        run: |lab| lab.g2p(),
    },
    Measurement {
        name: "mechanisms",
        what: "every attention mechanism by length",
        takes: "10 min",
        run: |lab| lab.whole("mechanisms", rows::mechanisms),
    },
    Measurement {
        name: "transducer",
        what: "five tasks that need jumps, up to 4,000 symbols",
        takes: "10 min",
        run: |lab| {
            let report = lab.experiment("transducer")?;
            lab.whole_of(&report, "transducer", rows::transducer)?;
            lab.part_of(&report, "by-length", 7, rows::transducer_by_length)
        },
    },
    Measurement {
        name: "transducer-ablations",
        what: "a transducer without each part of its recipe",
        takes: "30 min",
        run: |lab| lab.whole("transducer-ablations", rows::ablations),
    },
    Measurement {
        name: "transducer-symbols",
        what: "a transducer with 8 and with 50 symbols",
        takes: "15 min",
        run: |lab| lab.whole("transducer-symbols", rows::symbols),
    },
    Measurement {
        name: "transducer-further",
        what: "a transducer on six further tasks",
        takes: "40 min",
        run: |lab| lab.whole("transducer-further", rows::further),
    },
    Measurement {
        name: "tasks",
        what: "every task with every mechanism",
        takes: "1.5 h",
        run: |lab| lab.whole("tasks", rows::tasks),
    },
    Measurement {
        name: "million",
        what: "time and memory up to a million symbols, on one core",
        takes: "15 min",
        run: |lab| {
            let report = lab.experiment("million")?;
            lab.whole_of(&report, "long", rows::long)?;
            lab.part_of(&report, "by-length", 8, rows::million_by_length)
        },
    },
    Measurement {
        name: "scale",
        what: "the same as cargo xtask scale --publish",
        takes: "2 min",
        run: |lab| crate::scale::measure(&lab.s2s, 10_000, true),
    },
    Measurement {
        name: "instruction-sets",
        what: "an epoch with each one, on a CPU with AVX-512",
        takes: "1 min",
        run: simd::measure,
    },
];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Some(name) = &args.name else {
        let table = s2s_viz::Table::new()
            .column("name", ALL.iter().map(|one| one.name))
            .column("takes about", ALL.iter().map(|one| one.takes))
            .column("measurement", ALL.iter().map(|one| one.what));
        print!("{}", table.text());
        return Ok(ExitCode::SUCCESS);
    };
    let Some(found) = ALL.iter().find(|one| one.name == name) else {
        let names: Vec<&str> = ALL.iter().map(|one| one.name).collect();
        let names = names.join(", ");
        return Err(Usage(format!(
            "there is no measurement {name:?}\nthere are: {names}"
        ))
        .into());
    };
    let s2s = match &args.binary {
        Some(path) => path.clone(),
        None => release::build()?,
    };
    let lab = Lab { s2s, args };
    (found.run)(&lab)?;
    Ok(ExitCode::SUCCESS)
}

struct Lab<'a> {
    s2s: PathBuf,
    args: &'a Args,
}

impl Lab<'_> {
    /// Runs an experiment and publishes its report.
    fn experiment(&self, name: &str) -> Result<Report> {
        let path = Path::new("configs/experiments").join(format!("{name}.toml"));
        let folder = Plan::default_folder(&path);
        let plan = Plan::read(path, folder, &resolve_with(&self.s2s))?;
        let options = Options {
            s2s: &self.s2s,
            parallel: self.args.jobs,
            threads: self.args.threads,
            select: Select::All,
            keeps_going: false,
            accepts_changes: self.args.accept_changes,
            is_lean: false,
            signal: None,
        };
        run_experiment(&plan, &options, &|event| eprintln!("{event}"))?;
        let report = collect(plan)?;
        write_report(&report)?;
        publish_report(
            &report,
            &Path::new("configs/experiments/reports").join(name),
        )?;
        Ok(report)
    }

    /// Runs an experiment and writes the table of its name.
    fn whole(&self, name: &str, rows: fn(&Report, Table) -> Result<Table>) -> Result<()> {
        self.whole_of(&self.experiment(name)?, name, rows)
    }

    /// Writes a table that one experiment measures. `rows` gets the table as it is, or an empty one.
    fn whole_of(
        &self,
        report: &Report,
        table: &str,
        rows: fn(&Report, Table) -> Result<Table>,
    ) -> Result<()> {
        let known = docs::read(table).unwrap_or_else(|_| self.table(&[], ""));
        let written = rows(report, known)?;
        let stamped = self.table(&[], "");
        docs::write(
            table,
            &Table {
                command: stamped.command,
                machine: stamped.machine,
                date: stamped.date,
                stamps: Vec::new(),
                ..written
            },
        )
    }

    /// Writes those rows of a table that an experiment measures, from `first` on, counted from 1.
    fn part_of(
        &self,
        report: &Report,
        table: &str,
        first: usize,
        rows: fn(&Report, &Table) -> Result<Vec<Vec<String>>>,
    ) -> Result<()> {
        let known = docs::read(table)?;
        let rows = rows(report, &known)?;
        docs::write(table, &known.measured(first, rows, &self.table(&[], ""))?)
    }

    /// An empty table of this machine and this day.
    fn table(&self, header: &[&str], align: &str) -> Table {
        let name = self.args.name.as_deref().unwrap_or("NAME");
        Table {
            command: format!("cargo xtask reproduce {name}"),
            machine: cpu_name(),
            date: utc_date(SystemTime::now()),
            stamps: Vec::new(),
            header: header.iter().map(|&title| title.to_owned()).collect(),
            align: align.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Starts or resumes a run, or finds it finished.
    fn train(&self, folder: &str, options: &[&str]) -> Result<RunDir> {
        self.train_with(folder, options, &[])
    }

    /// The same with environment variables.
    fn train_with(
        &self,
        folder: &str,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<RunDir> {
        let path = Path::new("runs/reproduce").join(folder);
        let mut train = command(&self.s2s);
        train
            .envs(variables.iter().copied())
            .arg("train")
            .args(options)
            .arg("--run-dir")
            .arg(&path)
            .arg("--resume-or-start");
        match status(&mut train)?.success() {
            true => Ok(RunDir::open(path)?),
            false => anyhow::bail!("training {folder} failed; the same command resumes it"),
        }
    }

    fn seeds(&self) -> Result<()> {
        let header = [
            "seed",
            "exact match",
            "token accuracy",
            "loss, nats per token",
            "time",
        ];
        let mut table = self.table(&header, "lrrrr");
        for seed in ["0", "1", "2"] {
            let run = self.train(&format!("default-seed{seed}"), &["--seed", seed])?;
            table.rows.push(rows::seed(seed, &run)?);
        }
        docs::write("seeds", &table)
    }

    fn notebook(&self) -> Result<()> {
        let run = self.train("notebook", &["--config", "configs/notebook.toml"])?;
        let mut table = self.table(&["epoch", "this program", "the notebook's plot"], "lrr");
        table.rows = rows::notebook(&run)?;
        docs::write("notebook", &table)
    }

    /// Five seeds and their ensemble, greedily and with a beam.
    fn g2p(&self) -> Result<()> {
        let runs = ["0", "1", "2", "3", "4"].map(|seed| {
            let options = ["--config", "configs/g2p.toml", "--seed", seed];
            self.train(&format!("g2p-seed{seed}"), &options)
        });
        let runs: Vec<RunDir> = runs.into_iter().collect::<Result<_>>()?;
        let eval = |runs: &[RunDir], options: &[&str]| {
            let mut eval = command(&self.s2s);
            eval.arg("eval").args(runs.iter().map(RunDir::path));
            stdout(eval.args(options).args(["--references", "--json"]))
        };
        let both = |runs: &[RunDir]| -> Result<[String; 2]> {
            let beam = eval(runs, &["--beam", "5", "--n-best", "5"])?;
            Ok([eval(runs, &[])?, beam])
        };
        let mut table = self.table(&rows::G2P_HEADER, "lrrrrrrr");
        for (seed, run) in runs.iter().enumerate() {
            let evaluated = both(std::slice::from_ref(run))?;
            let row = rows::g2p(&format!("LSTM, seed {seed}"), &evaluated, Some(run))?;
            table.rows.push(row);
        }
        let row = rows::g2p("ensemble of the five", &both(&runs)?, None)?;
        table.rows.push(row);
        docs::write("g2p", &table)
    }
}
