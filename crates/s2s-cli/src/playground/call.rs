//! A request to the playground, before it touches a model: who asks, and for what.

use std::collections::BTreeMap;

use s2s_model::Interventions;
use serde::Deserialize;
use serde_json::json;

/// Maximum size of a request's body.
pub(crate) const MAX_BODY: usize = 64 << 10;

/// Maximum number of source tokens, markers included: an answer grows with the square of it.
pub(crate) const MAX_SOURCE: usize = 512;

/// The parts of an HTTP request that matter here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) origin: Option<&'a str>,
    /// The header `X-Page-Token`.
    pub(crate) token: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Page,
    Events,
    Decode(DecodeRequest),
}

/// A request that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }

    pub(crate) fn json(&self) -> String {
        json!({ "error": self.message }).to_string()
    }
}

/// The body of `POST /decode`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecodeRequest {
    /// Number of the run on the page.
    pub(crate) run: usize,
    /// Token IDs as the model reads them.
    pub(crate) source: Vec<u32>,
    #[serde(default)]
    excluded: Vec<usize>,
    #[serde(default = "neutral")]
    temperature: f64,
    #[serde(default)]
    forced: BTreeMap<usize, u32>,
}

fn neutral() -> f64 {
    Interventions::default().temperature
}

impl DecodeRequest {
    pub(crate) fn changes(&self) -> Interventions {
        Interventions {
            excluded: self.excluded.clone(),
            temperature: self.temperature,
            forced: self.forced.clone(),
        }
    }
}

/// Who may ask: pages from this server, which know its token.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) port: u16,
    pub(crate) token: String,
}

impl Door {
    /// Checks a request and reads it.
    ///
    /// The host must be this one: otherwise a name that an attacker controls could resolve to it. The
    /// page alone needs no token, since other websites cannot read it.
    pub(crate) fn admit(&self, call: &Call<'_>) -> Result<Asked, Refusal> {
        let names = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", self.port));
        if !call
            .host
            .is_some_and(|host| names.iter().any(|name| name == host))
        {
            return Err(Refusal::new(403, format!("open http://{}/", names[0])));
        }
        let is_own = |origin: &str| {
            let host = origin.strip_prefix("http://");
            host.is_some_and(|host| names.iter().any(|name| name == host))
        };
        if !call.origin.is_none_or(is_own) {
            return Err(Refusal::new(403, "other websites cannot use this server"));
        }
        let (path, query) = call.url.split_once('?').unwrap_or((call.url, ""));
        let check = |token: Option<&str>| match token {
            Some(token) if token == self.token => Ok(()),
            _ => Err(Refusal::new(
                403,
                "reload the page: it belongs to another server",
            )),
        };
        match (call.method, path) {
            ("GET", "/") => Ok(Asked::Page),
            ("GET", "/events") => {
                check(query.strip_prefix("token="))?;
                Ok(Asked::Events)
            }
            ("POST", "/decode") => {
                check(call.token)?;
                decode_request(call.body).map(Asked::Decode)
            }
            (_, "/" | "/events" | "/decode") => {
                let message = format!("{path} does not accept {}", call.method);
                Err(Refusal::new(405, message))
            }
            _ => Err(Refusal::new(
                404,
                "there is only GET /, GET /events and POST /decode",
            )),
        }
    }
}

fn decode_request(body: &[u8]) -> Result<DecodeRequest, Refusal> {
    let malformed = |error| Refusal::new(400, format!("malformed request: {error}"));
    let request: DecodeRequest = serde_json::from_slice(body).map_err(malformed)?;
    match request.source.len() {
        0 => Err(Refusal::new(400, "type at least one token")),
        1..=MAX_SOURCE => Ok(request),
        n => {
            let message = format!("{n} tokens are too many: at most {MAX_SOURCE}");
            Err(Refusal::new(400, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door {
            port: 8000,
            token: "secret".to_owned(),
        }
    }

    const PAGE: Call<'_> = Call {
        method: "GET",
        url: "/",
        host: Some("127.0.0.1:8000"),
        origin: None,
        token: None,
        body: b"",
    };

    const DECODE: Call<'_> = Call {
        method: "POST",
        url: "/decode",
        origin: Some("http://localhost:8000"),
        token: Some("secret"),
        body: br#"{"run":0,"source":[1,2]}"#,
        ..PAGE
    };

    #[track_caller]
    fn check(call: Call<'_>, status: u16) {
        let refusal = door().admit(&call).unwrap_err();
        assert_eq!(refusal.status, status, "{}", refusal.message);
    }

    #[test]
    fn the_page_and_its_requests_are_admitted() {
        assert_eq!(door().admit(&PAGE), Ok(Asked::Page));
        let url = "/events?token=secret";
        assert_eq!(door().admit(&Call { url, ..PAGE }), Ok(Asked::Events));
        let Ok(Asked::Decode(request)) = door().admit(&DECODE) else {
            panic!("not admitted");
        };
        assert_eq!(request.source, [1, 2]);
        assert_eq!(request.changes(), Interventions::default());
    }

    #[test]
    fn other_hosts_and_websites_are_refused() {
        for host in [
            None,
            Some("evil.example"),
            Some("127.0.0.1"),
            Some("127.0.0.1:80"),
        ] {
            check(Call { host, ..PAGE }, 403);
        }
        for origin in [
            "http://evil.example",
            "null",
            "https://127.0.0.1:8000",
            "file://",
        ] {
            let origin = Some(origin);
            check(Call { origin, ..DECODE }, 403);
        }
    }

    #[test]
    fn requests_without_the_token_are_refused() {
        for token in [None, Some(""), Some("secre"), Some("secrets")] {
            check(Call { token, ..DECODE }, 403);
        }
        for url in ["/events", "/events?token=", "/events?token=x"] {
            check(Call { url, ..PAGE }, 403);
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"run":-1,"source":[1]}"#,
            r#"{"run":0,"source":[]}"#,
        ] {
            let body = body.as_bytes();
            check(Call { body, ..DECODE }, 400);
        }
        let long = format!(r#"{{"run":0,"source":[1{}]}}"#, ",1".repeat(MAX_SOURCE));
        let body = long.as_bytes();
        check(Call { body, ..DECODE }, 400);
        check(
            Call {
                method: "PUT",
                ..DECODE
            },
            405,
        );
        check(
            Call {
                url: "/../etc/passwd",
                ..PAGE
            },
            404,
        );
    }

    #[test]
    fn an_error_is_json_whatever_it_says() {
        let refusal = Refusal::new(400, "a \"quote\"\n");
        let value: serde_json::Value = serde_json::from_str(&refusal.json()).unwrap();
        assert_eq!(value["error"], "a \"quote\"\n");
    }
}
