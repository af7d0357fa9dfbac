//! A running `bascule serve` and how tests talk to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Method, RequestBuilder, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use crate::stage::Stage;

const ARGUMENTS: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json"];
/// How long a server may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of a stage; killed when dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
    /// By role.
    tokens: BTreeMap<String, String>,
    log: JoinHandle<Vec<String>>,
    pub(crate) http: Client,
}

impl Served {
    /// Starts it and waits until it says that it is ready.
    pub(crate) async fn start(stage: &Stage) -> Self {
        Self::wait(stage, stage.command(&ARGUMENTS)).await
    }

    /// The same where no file can grow beyond so many blocks of the shell: a write beyond is an error.
    pub(crate) async fn start_within(stage: &Stage, blocks: u32) -> Self {
        Self::start_limited(stage, &format!("trap '' XFSZ; ulimit -f {blocks}")).await
    }

    /// The same with at most so many files and sockets.
    pub(crate) async fn start_with_files(stage: &Stage, files: u32) -> Self {
        Self::start_limited(stage, &format!("ulimit -n {files}")).await
    }

    async fn start_limited(stage: &Stage, limits: &str) -> Self {
        let own = stage.command(&ARGUMENTS);
        let own = own.as_std();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!(r#"{limits}; exec "$0" "$@""#)])
            .arg(own.get_program())
            .args(own.get_args())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in own.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        Self::wait(stage, shell).await
    }

    /// The same with the data folder on a small disk of its own, which is gone with the process.
    pub(crate) async fn start_on_small_disk(stage: &Stage, mebibytes: u32) -> Self {
        Self::start_on_disk_after(stage, mebibytes, "true").await
    }

    /// The same once a shell has done something there: `$D` is the data folder, `"$0" "$@"` starts a server.
    pub(crate) async fn start_on_disk_after(stage: &Stage, mebibytes: u32, first: &str) -> Self {
        let own = stage.command(&ARGUMENTS);
        let own = own.as_std();
        let script = format!(
            r#"rm -rf "$D.copy" && cp -a "$D" "$D.copy" && mount -t tmpfs -o size={mebibytes}m none "$D" && cp -a "$D.copy/." "$D/" && {first} && exec "$0" "$@""#
        );
        let mut shell = Command::new("unshare");
        shell
            .args(["-rm", "sh", "-c", &script])
            .arg(own.get_program())
            .args(own.get_args())
            .env("D", stage.folder.join(".bascule"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in own.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        Self::wait(stage, shell).await
    }

    /// The data folder as the server sees it.
    pub(crate) fn data_folder(&self, stage: &Stage) -> PathBuf {
        let own = stage.folder.join(".bascule");
        let inside = own.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.child.id().unwrap().to_string()).join("root").join(inside)
    }

    async fn wait(stage: &Stage, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let ready = tokio::time::timeout(PATIENCE, ready(&mut lines, &mut said)).await.unwrap();
        let Some(url) = ready else { panic!("it ended: {}", said.join("\n")) };
        let log = stage.folder.with_file_name("serve.log");
        let log = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                said.push(line);
            }
            let mut text = std::fs::read_to_string(&log).unwrap_or_default();
            text.push_str(&said.join("\n"));
            std::fs::write(log, text).unwrap();
            said
        });
        let file = std::fs::read_to_string(stage.folder.join(".bascule/tokens")).unwrap();
        let tokens = file
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(' '))
            .map(|(role, token)| (role.to_owned(), token.to_owned()))
            .collect();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { child, url, tokens, log, http }
    }

    pub(crate) fn token(&self, role: &str) -> &str {
        &self.tokens[role]
    }

    /// A request to the API as `role`.
    pub(crate) fn api(&self, method: Method, path: &str, role: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.token(role))
    }

    /// What the API shows a viewer.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.api(Method::GET, path, "viewer").send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        body(response).await
    }

    /// The same where it is not JSON.
    pub(crate) async fn text(&self, path: &str) -> String {
        let response = self.api(Method::GET, path, "viewer").send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// Asks until the answer is as it should be.
    pub(crate) async fn until(&self, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let begun = tokio::time::Instant::now();
        loop {
            let value = self.get(path).await;
            if fits(&value) {
                return value;
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {value:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A signed delivery.
    pub(crate) async fn deliver(&self, path: &str, secret: &str, body: &Value) -> Response {
        let text = body.to_string();
        let signature = sign(secret, text.as_bytes());
        self.post(path, &[("x-signature-256", &signature), ("content-type", "application/json")], text).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let mut request = self.http.post(format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    /// Waits for the end; gives the exit code and what was logged.
    pub(crate) async fn ended(mut self) -> (i32, String) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        (status.code().unwrap_or(-1), self.log.await.unwrap().join("\n"))
    }

    /// SIGTERM, and the end that should follow.
    pub(crate) async fn stop(self) -> String {
        self.terminate();
        let (code, log) = self.ended().await;
        assert_eq!(code, 0, "{log}");
        log
    }

    /// kill -9
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
        self.log.await.unwrap();
    }
}

/// Reads on until the server says where it is.
async fn ready(lines: &mut Lines<BufReader<ChildStderr>>, said: &mut Vec<String>) -> Option<String> {
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push(line.clone());
        if let Some(rest) = line.strip_prefix("ready: ") {
            return rest.split(' ').next().map(str::to_owned);
        }
    }
    None
}

pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// The body of an answer as JSON; null where there is none.
pub(crate) async fn body(response: Response) -> Value {
    let bytes = response.bytes().await.unwrap();
    if bytes.is_empty() { json!(null) } else { serde_json::from_slice(&bytes).unwrap() }
}
