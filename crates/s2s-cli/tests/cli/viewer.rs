//! Reports and the playground.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};

use serde_json::Value;

use crate::decoding::home_of_transducer;
use crate::{TINY, code, command, copy_of_trained, fails, home_of_trained, s2s, succeeds};

const VIEWER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../s2s-viz/viewer");
const FORWARD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../xtask/browser/forward.mjs"
);

/// The data of a page.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_report_has_the_same_bytes_at_the_end_of_training_and_later() {
    let (home, run) = copy_of_trained();
    let first = fs::read(run.join("report.html")).unwrap();
    assert_eq!(
        succeeds(s2s(home.path(), ["report", "run"])),
        "run/report.html\n"
    );
    assert!(fs::read(run.join("report.html")).unwrap() == first);
    assert!(first.len() < 3_000_000);
    let data = data(str::from_utf8(&first).unwrap());
    assert_eq!(data["runs"][0]["weights"]["precision"], "f32");
    assert_eq!(data["runs"][0]["problems"], Value::Array(Vec::new()));
}

#[test]
fn runs_are_compared_in_a_file_that_the_user_names() {
    let (home, _) = copy_of_trained();
    let two = ["report", "run", "run"];
    fails(&s2s(home.path(), two), 2, &["several runs need --out"]);
    let out = two.into_iter().chain(["--out", "two.html"]);
    succeeds(s2s(home.path(), out.clone()));
    succeeds(s2s(home.path(), out.clone())); // its own file can be overwritten
    let page = fs::read_to_string(home.path().join("two.html")).unwrap();
    assert_eq!(data(&page)["runs"].as_array().unwrap().len(), 2);

    fs::write(home.path().join("two.html"), "mine").unwrap();
    fails(
        &s2s(home.path(), out),
        2,
        &["two.html", "nothing was changed"],
    );
    let kept = fs::read_to_string(home.path().join("two.html")).unwrap();
    assert_eq!(kept, "mine");
}

#[test]
fn a_report_names_what_it_cannot_read() {
    let (home, run) = copy_of_trained();
    fs::write(run.join("failures.json"), "{\"step\": NaN}").unwrap();
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    succeeds(s2s(home.path(), ["report", "run"]));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    let problems = data(&page)["runs"][0]["problems"].to_string();
    for part in ["failures.json", "checkpoints"] {
        assert!(problems.contains(part), "no {part} in {problems}");
    }
    fails(
        &s2s(home.path(), ["report", "nowhere"]),
        2,
        &["nowhere", "try: "],
    );
}

/// The model in JavaScript, if node is installed; `cargo xtask browser-test` checks every architecture.
#[test]
fn the_model_of_a_report_gives_the_output_of_predict() {
    let (home, _) = copy_of_trained();
    assert_that_the_page_predicts(home.path(), 10);
}

#[test]
fn the_transducer_of_a_report_gives_the_output_of_predict() {
    let home = home_of_transducer();
    assert_that_the_page_predicts(home.path(), 2);
}

/// The page of `run` gives the output of `predict` on sequences of so many symbols.
fn assert_that_the_page_predicts(home: &Path, n_symbols: usize) {
    if Command::new("node").arg("--version").output().is_err() {
        return;
    }
    let lines: Vec<String> = (0..200)
        .map(|i| {
            let symbols =
                (0..1 + i % 8).map(|k| (1 + (7 * i + 3 * k * k + k) % n_symbols).to_string());
            symbols.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let predict = ["predict", "run", "--json", "--attention"];
    let answers = succeeds(crate::s2s_reading(
        home,
        &predict,
        (lines.join("\n") + "\n").as_bytes(),
    ));
    let predictions = home.join("predictions.jsonl");
    fs::write(&predictions, answers).unwrap();
    let output = Command::new("node")
        .args([Path::new(FORWARD), Path::new(VIEWER)])
        .args([&home.join("run/report.html"), &predictions])
        .output()
        .unwrap();
    let result = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{result}{errors}");
    assert!(result.contains("\"sequences\":200"), "{result}");
}

/// A playground of the trained run.
struct Playground {
    process: Child,
    port: u16,
}

impl Playground {
    fn start(home: &Path) -> Self {
        let mut process = command(home).args(["playground", "run"]).spawn().unwrap();
        let mut url = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut url).unwrap();
        let port = url
            .strip_prefix("http://127.0.0.1:")
            .and_then(|rest| rest.strip_suffix("/\n")?.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{url:?}"));
        Self { process, port }
    }

    /// The page, and the header with its token.
    fn page(&self) -> (Value, String) {
        let (status, page) = self.ask("GET /", "", "");
        assert_eq!(status, 200);
        let data = data(&page);
        let token = format!("X-Page-Token: {}\r\n", data["token"].as_str().unwrap());
        (data, token)
    }

    /// The status and the body of a response. HTTP/1.0 has no chunks.
    fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (port, length) = (self.port, body.len());
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: 127.0.0.1:{port}\r\n")
        };
        let head = format!("{line} HTTP/1.0\r\n{host}{headers}Connection: close\r\n");
        let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        let _ = stream.write_all(request.as_bytes()); // a refusal may come before the end
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response);
        let response = String::from_utf8(response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_playground_decodes_for_its_own_page_only() {
    let playground = Playground::start(home_of_trained());
    let (data, token) = playground.page();
    assert_eq!(data["source"], "server");
    assert_eq!(data["runs"][0]["weights"], Value::Null);

    let body = r#"{"run":0,"source":[3,1,4]}"#;
    let (status, answer) = playground.ask("POST /decode", &token, body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let steps = answer["steps"].as_array().unwrap();
    let tokens: Vec<String> = steps
        .iter()
        .map(|step| step["token"].to_string())
        .filter(|token| token != "12") // EOS
        .collect();
    let predicted = succeeds(s2s(home_of_trained(), ["predict", "run", "3", "1", "4"]));
    assert_eq!(tokens.join(" "), predicted.trim());

    let evil = "Host: evil.example\r\n";
    let large = "x".repeat(70_000);
    for (line, headers, body, expected) in [
        ("GET /", evil, "", 403),
        ("POST /decode", "", body, 403),
        (
            "POST /decode",
            &*format!("{token}Origin: http://evil.example\r\n"),
            body,
            403,
        ),
        ("GET /events?token=guess", "", "", 403),
        ("POST /decode", &token, "not json", 400),
        ("POST /decode", &token, r#"{"run":9,"source":[1]}"#, 400),
        ("POST /decode", &token, r#"{"run":0,"source":[99]}"#, 400),
        (
            "POST /decode",
            &token,
            r#"{"run":0,"source":[1],"excluded":[7]}"#,
            400,
        ),
        (
            "POST /decode",
            &token,
            r#"{"run":0,"source":[1],"temperature":0}"#,
            400,
        ),
        ("POST /decode", &token, &large, 413),
        ("DELETE /", "", "", 405),
        ("GET /etc/passwd", "", "", 404),
    ] {
        let (status, answer) = playground.ask(line, headers, body);
        assert_eq!(status, expected, "{line}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].is_string(), "{answer}");
    }
}

#[test]
fn a_playground_decodes_with_the_last_weights_if_the_folder_is_gone() {
    let (home, run) = copy_of_trained();
    let playground = Playground::start(home.path());
    let (_, token) = playground.page();
    let decode = || playground.ask("POST /decode", &token, r#"{"run":0,"source":[3,1,4]}"#);
    let before = decode();
    assert_eq!(before.0, 200);
    fs::remove_dir_all(run).unwrap();
    assert_eq!(decode(), before);
}

#[test]
#[cfg(unix)]
fn a_playground_stops_at_ctrl_c_and_names_a_port_in_use() {
    let mut playground = Playground::start(home_of_trained());
    let port = playground.port.to_string();
    let other = s2s(home_of_trained(), ["playground", "run", "--port", &port]);
    fails(&other, 1, &["cannot listen on port", "try: "]);
    let pid = playground.process.id().to_string();
    succeeds(Command::new("kill").args(["-INT", &pid]).output().unwrap());
    assert_eq!(playground.process.wait().unwrap().code(), Some(0));
}

#[test]
#[cfg(unix)]
fn a_playground_without_a_browser_names_the_address() {
    let mut process = command(home_of_trained())
        .args(["playground", "run", "--open"])
        .env("PATH", "/nonexistent")
        .spawn()
        .unwrap();
    let stderr = BufReader::new(process.stderr.take().unwrap());
    let lines = stderr.lines().take(2); // the first says how to stop
    let message: String = lines.map(Result::unwrap).collect();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(message.contains("cannot open a browser"), "{message}");
    assert!(message.contains("open http://127.0.0.1:"), "{message}");
}

#[test]
fn a_playground_without_runs_says_how_to_make_one() {
    let home = tempfile::TempDir::new().unwrap();
    let output = s2s(home.path(), ["playground"]);
    fails(&output, 1, &["no run in runs/", "s2s train"]);
    assert_eq!(code(&s2s(home.path(), ["playground", TINY])), 2);
}
