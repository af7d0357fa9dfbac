//! Tries to reach any address but its connection's: through the path, the query, the headers.

bascule_sdk::plugin! { world: "bascule:device/plugin@0.1.0", wit: ["wit/device/plugin.wit"], path: ["../../wit", "wit/device"] }
bascule_sdk::export!(Guest);

use bascule_sdk::{Body, Connection, Error, Field, Method, Pace, Request};
use bindings::exports::bascule::device::device;

struct Guest;

impl device::Guest for Guest {
    /// `port` is one where the test listens and nobody must come.
    fn run(peer: &Connection, port: String) -> Result<Vec<String>, Error> {
        let mut seen = Vec::new();
        let other = format!("127.0.0.1:{port}");
        for path in [
            format!("http://{other}/"),
            format!("HTTP://{other}/"),
            format!("//{other}/"),
            format!("///{other}/"),
            format!("/\\{other}/"),
            format!("\\\\{other}\\"),
            format!("@{other}/"),
            format!("/@{other}/../x"),
            format!(":{port}/"),
            format!("{other}/"),
            "/../secret".to_owned(),
            "/%2e%2e/secret".to_owned(),
            "/a/%2E%2e/%2e./secret".to_owned(),
            "/a/..".to_owned(),
            "/a\r\nHost: elsewhere".to_owned(),
            "/a\nX: y".to_owned(),
            "/a b".to_owned(),
            "/a?b=c".to_owned(),
            "/a#b".to_owned(),
            "/a\u{0}b".to_owned(),
            "*".to_owned(),
            String::new(),
            "a".to_owned(),
            "/ä".to_owned(),
        ] {
            seen.push(attempt(peer, &format!("path {path:?}"), request(&path)));
        }
        for (name, value) in [
            ("Host", other.as_str()),
            ("host", &other),
            ("HOST", &other),
            ("Authorization", "Basic eDp5"),
            ("Proxy-Authorization", "Basic eDp5"),
            ("Cookie", "a=b"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "keep-alive, host"),
            ("Upgrade", "websocket"),
            ("TE", "trailers"),
            ("X-A\r\nHost", &other),
            ("X-A", "b\r\nHost: elsewhere"),
            ("X-A", "b\nc"),
            ("", "b"),
            ("Host ", &other),
            (":authority", &other),
        ] {
            let mut request = request("/");
            request.headers.push(Field { name: name.to_owned(), value: value.to_owned() });
            seen.push(attempt(peer, &format!("header {name:?}: {value:?}"), request));
        }
        Ok(seen)
    }
}

fn request(path: &str) -> Request {
    Request {
        method: Method::Get,
        path: path.to_owned(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Body::Empty,
        pace: Pace::Normal,
    }
}

/// The kind of error that it led to, or the status, with what was tried.
fn attempt(peer: &Connection, what: &str, request: Request) -> String {
    match peer.send(&request) {
        Ok(response) => format!("answered {} for {what}", response.status),
        Err(error) => format!("{:?} for {what}: {}", error.kind, error.message),
    }
}
