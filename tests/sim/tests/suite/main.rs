//! The simulators against independent clients: reqwest, diqwest, and bytes on a socket.

mod backend;
mod database;
mod digest;
mod events;
mod faces;
mod files;
mod fleet;
mod hikcentral;
mod hikpartner;
mod lock;
mod people;
mod trouble;

use anyhow::{Context as _, Result};
use bascule_sim::{Fleet, FleetOptions, PASSWORD, SERVICE_KEY, Scenario, Terminal, USER};
use diqwest::WithDigestAuth as _;
use reqwest::Method;
use serde_json::Value;

/// What came back.
#[derive(Debug)]
struct Said {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Said {
    async fn from(response: reqwest::Response) -> Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.bytes().await?.to_vec() })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// HTTP status and subStatusCode.
    fn code(&self) -> Result<(u16, String)> {
        Ok((self.status, self.json()?["subStatusCode"].as_str().unwrap_or_default().to_owned()))
    }
}

async fn fleet(terminals: usize, scenario: Scenario) -> Result<Fleet> {
    Fleet::start(FleetOptions { terminals, scenario, ..FleetOptions::default() }).await
}

/// One terminal without anybody on it.
async fn one() -> Result<Fleet> {
    fleet(1, Scenario::Empty).await
}

/// Asks a terminal with digest credentials, a fresh challenge each time.
async fn ask(terminal: &Terminal, method: Method, path: &str, body: Option<Value>) -> Result<Said> {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", terminal.url()));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    Said::from(request.send_digest_auth((USER, PASSWORD)).await?).await
}

/// Asks without credentials.
async fn plain(url: String) -> Result<Said> {
    Said::from(reqwest::get(url).await?).await
}

/// Asks the database with the service key; `headers` come on top.
async fn rest(
    fleet: &Fleet,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Result<Said> {
    let url = format!("{}/rest/v1/{path}", fleet.supabase_url());
    let mut request = reqwest::Client::new().request(method, url).header("apikey", SERVICE_KEY);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    Said::from(request.send().await?).await
}
