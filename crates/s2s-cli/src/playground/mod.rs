//! `s2s playground`: the viewer with a local server, which runs the model and follows training.

mod call;
mod runs;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use s2s_lab::process;
use s2s_runlog::{RunDir, hex, list_folder};
use s2s_train::{ExperimentConfig, Runtime, Work, load_config};
use s2s_viz::{Page, PageSource};
use serde_json::Value;
use tiny_http::{Header, Request, Response, Server};

use self::call::{Asked, Call, Door, MAX_BODY, Refusal};
use self::runs::WatchedRun;
use crate::STACK_BYTES;
use crate::failure::{Hinted, Usage};
use crate::machine::MachineArgs;
use crate::signals::{self, Signals};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s playground                       every run in runs/
  s2s playground runs/default-seed0 --open
  s2s playground runs/a runs/b         side by side";

/// Most runs without an argument.
const MAX_RUNS: usize = 12;

/// Connections that are answered at once; further ones get an error.
const MAX_CONNECTIONS: usize = 24;

/// Requests per second, on average and at once.
const RATE: f64 = 40.0;
const BURST: f64 = 120.0;

/// How often run folders are read again, and events are sent.
const POLL: Duration = Duration::from_millis(300);

/// An event stream is silent for at most this long, so that closed connections are noticed.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Explore runs in the browser
///
/// Serves the page of `s2s report` at a free port of this machine, to this machine only. The model runs
/// in this process, so larger models and longer sequences work, and runs that are still training are
/// updated. Prints the address; Ctrl-C stops it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folders of the runs [default: the runs in runs/]
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Port; 0 selects a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let dirs = match &args.dirs[..] {
        [] => runs_here()?,
        given => given.to_vec(),
    };
    let mut runs = Vec::new();
    for dir in dirs {
        match WatchedRun::open(dir) {
            Ok(run) => runs.push(run),
            Err(error) if args.dirs.is_empty() => ui.warning(format!("left out: {error:#}")),
            Err(error) => return Err(error),
        }
    }
    let config = || match runs.first() {
        Some(run) => Ok(load_config(Some(&run.dir().resolved_config()), &[])?),
        None => Ok(ExperimentConfig::default()),
    };
    let runtime = args.machine.runtime(Work::Decode, config, ui)?;
    let server = Server::http(("127.0.0.1", args.port)).map_err(|error| Hinted {
        what: format!("cannot listen on port {}: {error}", args.port),
        hint: "another --port, or no --port for a free one".to_owned(),
    })?;
    let port = server
        .server_addr()
        .to_ip()
        .context("the server has no port")?
        .port();
    Signals::catch(ui)?;
    let url = format!("http://127.0.0.1:{port}/");
    ui.data(&format!("{url}\n"))?;
    ui.message("Press Ctrl-C to stop.");
    if args.open {
        open(&url, ui);
    }
    let shared = Arc::new(Playground {
        runs,
        runtime,
        door: Door {
            port,
            token: token()?,
        },
        connections: AtomicUsize::new(0),
        budget: Mutex::new((BURST, Instant::now())),
    });
    while !signals::is_received() {
        if let Some(request) = server.recv_timeout(POLL)? {
            answer(&shared, request);
        } else {
            shared.runs.iter().for_each(WatchedRun::refresh);
        }
    }
    Ok(0)
}

/// The runs in `runs/`.
fn runs_here() -> anyhow::Result<Vec<PathBuf>> {
    let folder = PathBuf::from("runs");
    let paths = list_folder(&folder)?
        .into_iter()
        .map(|name| folder.join(name));
    let runs: Vec<PathBuf> = paths.filter(|path| RunDir::open(path).is_ok()).collect();
    match runs.len() {
        0 => Err(Hinted {
            what: "there is no run in runs/".to_owned(),
            hint: "`s2s train` creates one".to_owned(),
        }
        .into()),
        n if n > MAX_RUNS => Err(Usage(format!(
            "runs/ has {n} runs, which is too many for a page; name up to {MAX_RUNS} of them"
        ))
        .into()),
        _ => Ok(runs),
    }
}

/// What all connections share.
struct Playground {
    runs: Vec<WatchedRun>,
    runtime: Runtime,
    door: Door,
    connections: AtomicUsize,
    budget: Mutex<(f64, Instant)>,
}

/// Answers a request in a thread of its own.
fn answer(shared: &Arc<Playground>, request: Request) {
    if shared.connections.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
        shared.connections.fetch_sub(1, Ordering::SeqCst);
        return refuse(
            request,
            &Refusal::new(503, "too many connections; close a page"),
        );
    }
    let own = Arc::clone(shared);
    // A model that runs in tensor operations needs a large stack.
    let started = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || {
            own.respond(request);
            own.connections.fetch_sub(1, Ordering::SeqCst);
        });
    if started.is_err() {
        shared.connections.fetch_sub(1, Ordering::SeqCst); // the connection is closed
    }
}

impl Playground {
    fn respond(&self, mut request: Request) {
        match self.asked(&mut request) {
            Ok(Asked::Page) => send(request, 200, "text/html; charset=utf-8", self.page()),
            Ok(Asked::Events) => self.stream(request),
            Ok(Asked::Decode(asked)) => {
                let run = self.runs.get(asked.run);
                let run = run.ok_or_else(|| Refusal::new(400, "there is no such run"));
                match run.and_then(|run| run.decode(&asked, &self.runtime)) {
                    Ok(answer) => send(request, 200, "application/json", answer),
                    Err(refusal) => refuse(request, &refusal),
                }
            }
            Err(refusal) => refuse(request, &refusal),
        }
    }

    /// Reads and checks a request.
    fn asked(&self, request: &mut Request) -> Result<Asked, Refusal> {
        if !self.take_from_budget() {
            return Err(Refusal::new(
                429,
                "too many requests; try again in a second",
            ));
        }
        let mut body = Vec::new();
        let limit = MAX_BODY as u64 + 1;
        let read = request.as_reader().take(limit).read_to_end(&mut body);
        if read.is_err() {
            return Err(Refusal::new(400, "the request is incomplete"));
        }
        if body.len() > MAX_BODY {
            let message = format!("the request is larger than {MAX_BODY} bytes");
            return Err(Refusal::new(413, message));
        }
        let header = |name: &'static str| {
            let mut headers = request.headers().iter();
            let header = headers.find(|header| header.field.equiv(name));
            header.map(|header| header.value.as_str())
        };
        self.door.admit(&Call {
            method: request.method().as_str(),
            url: request.url(),
            host: header("Host"),
            origin: header("Origin"),
            token: header("X-Page-Token"),
            body: &body,
        })
    }

    /// Takes a request from the budget, which refills with time.
    fn take_from_budget(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *budget;
        let left = (left + RATE * since.elapsed().as_secs_f64()).min(BURST);
        let is_within = left >= 1.0;
        *budget = (if is_within { left - 1.0 } else { left }, Instant::now());
        is_within
    }

    fn page(&self) -> String {
        let page = Page {
            runs: self.runs.iter().map(WatchedRun::run).collect(),
            source: PageSource::Server {
                token: self.door.token.clone(),
            },
        };
        page.html()
    }

    /// Sends the runs that change, until the page is closed.
    fn stream(&self, request: Request) {
        let mut versions: Vec<Option<u64>> = vec![None; self.runs.len()];
        let mut writer = request.into_writer();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Cache-Control: no-store\r\nConnection: close\r\n\r\n";
        let mut send = |text: &str| {
            writer
                .write_all(text.as_bytes())
                .and_then(|()| writer.flush())
        };
        let mut last = Instant::now();
        let mut result = send(head);
        while result.is_ok() {
            for (index, (run, version)) in self.runs.iter().zip(&mut versions).enumerate() {
                let now = run.version();
                if version.replace(now) != Some(now) && result.is_ok() {
                    last = Instant::now();
                    result = send(&event(&run.event(index)));
                }
            }
            if last.elapsed() > HEARTBEAT {
                last = Instant::now();
                result = result.and_then(|()| send(": still here\n\n"));
            }
            std::thread::sleep(POLL);
        }
    }
}

/// One event. JSON has no line ends.
fn event(data: &Value) -> String {
    format!("event: run\ndata: {data}\n\n")
}

fn refuse(request: Request, refusal: &Refusal) {
    send(request, refusal.status, "application/json", refusal.json());
}

/// Sends a response. A page that is closed in the meantime is no error.
fn send(request: Request, status: u16, kind: &str, body: String) {
    let headers = [
        ("Content-Type", kind),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Frame-Options", "DENY"),
    ];
    let mut response = Response::from_string(body).with_status_code(status);
    for (name, value) in headers {
        let header = Header::from_bytes(name, value).expect("the headers are ASCII");
        response.add_header(header);
    }
    let _: io::Result<()> = request.respond(response);
}

/// A token that other processes and websites cannot guess.
fn token() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(hex(&bytes))
}

fn open(url: &str, ui: &Ui) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let mut command = process::command(program);
    command
        .arg(url)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    if let Err(error) = process::spawn(&mut command) {
        ui.message(format!(
            "warning: cannot open a browser: {error}; open {url} yourself"
        ));
    }
}
