//! Talking to the server that owns the data folder, for commands that need it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bascule_server::EventView;
use futures_util::StreamExt as _;
use reqwest::{Method, Response};
use serde_json::Value;

use super::Address;
use crate::exit::{Exit, coded, coded_with_help};
use crate::site::Places;

/// How long a server on this computer may take to say that it is there.
const HELLO: Duration = Duration::from_secs(2);
/// The longest line of a stream of events.
const MAX_LINE_BYTES: usize = 1 << 20;

/// A server that is there.
pub(crate) struct Client {
    url: String,
    token: String,
    http: reqwest::Client,
}

impl Client {
    /// The server of this data folder, if one is running.
    pub(crate) async fn find(places: &Places) -> Result<Option<Self>> {
        let Some(Address { url, token, .. }) = Address::read(places) else { return Ok(None) };
        let http = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        let client = Self { url, token, http };
        let hello = client.request(Method::GET, "/api/v1/project").timeout(HELLO).send().await;
        Ok(hello.is_ok_and(|response| response.status().is_success()).then_some(client))
    }

    /// `http://127.0.0.1:8710`
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.answer(self.request(Method::GET, path).send().await).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_string());
        self.answer(request.send().await).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        let request =
            self.request(Method::PUT, path).header("content-type", "application/json").body(body.to_string());
        self.answer(request.send().await).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.answer(self.request(Method::DELETE, path).send().await).await
    }

    async fn answer(&self, sent: reqwest::Result<Response>) -> Result<Value> {
        let response = sent.with_context(|| format!("the server at {} does not answer", self.url))?;
        let status = response.status();
        let bytes =
            response.bytes().await.with_context(|| format!("the server at {} broke off", self.url))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_slice(&bytes).context("the server's answer is not JSON")?;
        if status.is_success() {
            return Ok(value);
        }
        let error = &value["error"];
        let mut message = error["message"].as_str().unwrap_or("the server refused").to_owned();
        for problem in error["problems"].as_array().into_iter().flatten() {
            message.push_str(&format!("\n  {}", problem["message"].as_str().unwrap_or_default()));
        }
        let exit = match status.as_u16() {
            404 => Exit::NotFound,
            503 => Exit::Storage,
            _ => Exit::Unusable,
        };
        Err(match error["help"].as_str() {
            Some(help) => coded_with_help(exit, message, help),
            None => coded(exit, message),
        })
    }

    /// Hears what happens in a run, until it ends or the server stops.
    pub(crate) async fn follow(&self, run: &str, mut hear: impl FnMut(EventView)) -> Result<()> {
        let response = self
            .request(Method::GET, &format!("/api/v1/runs/{run}/events"))
            .send()
            .await
            .and_then(Response::error_for_status)
            .with_context(|| format!("cannot follow the run at {}", self.url))?;
        let mut pieces = response.bytes_stream();
        let mut rest: Vec<u8> = Vec::new();
        while let Some(piece) = pieces.next().await {
            rest.extend_from_slice(&piece.context("the server broke off")?);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
                if let Some(view) = data.and_then(|data| serde_json::from_slice(data).ok()) {
                    hear(view);
                }
            }
            if rest.len() > MAX_LINE_BYTES {
                return Err(coded(Exit::Unusable, "the server's events cannot be read: a line without end"));
            }
        }
        Ok(())
    }
}
