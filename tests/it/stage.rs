//! A project folder wired to a running fleet, and the binary to run in it. Everything is kept below `target/it`, where
//! `cargo xtask test` looks for secrets afterwards.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use bascule_capability::secret::MasterKey;
use bascule_sim::{Fleet, FleetOptions, PASSWORD, SERVICE_KEY, Scenario, USER};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// What a command printed and how it ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The last line of standard output as JSON: what `run --json` prints at its end.
    pub(crate) fn result(&self) -> Value {
        let last =
            self.out.lines().last().unwrap_or_else(|| panic!("nothing was printed; it said: {}", self.err));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// All of standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

/// Every stage has a copy of one key, so that they can share the compiled plugins: compiling takes longer than most tests.
fn shared_key() -> PathBuf {
    static KEY: OnceLock<PathBuf> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = cache().join("master.key");
        if !key.exists() {
            MasterKey::create(&key).unwrap();
        }
        key
    })
    .clone()
}

/// The folder with the plugins, which are built once for all tests.
fn components() -> &'static Path {
    static COMPONENTS: OnceLock<PathBuf> = OnceLock::new();
    COMPONENTS.get_or_init(|| xtask::components::plugins().unwrap())
}

fn cache() -> PathBuf {
    root().join("target/it-cache")
}

/// A project on disk.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    key: PathBuf,
}

impl Stage {
    /// An empty folder for the test of that name.
    pub(crate) fn empty(name: &str) -> Self {
        let folder = root().join("target/it").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::create_dir_all(folder.join("project/workflows")).unwrap();
        let key = folder.join("master.key");
        std::fs::copy(shared_key(), &key).unwrap();
        Self { key, folder: folder.join("project") }
    }

    /// A project for the fleet with the shipped workflows (with short waits) and the right secrets.
    pub(crate) async fn set(name: &str, fleet: &Fleet) -> Self {
        let stage = Self::empty(name);
        std::fs::write(stage.folder.join("bascule.yaml"), inventory(fleet)).unwrap();
        for workflow in ["update-face-photo", "update-face-photo-upload"] {
            let text =
                std::fs::read_to_string(root().join("workflows").join(format!("{workflow}.yaml"))).unwrap();
            let text = text
                .replace("from: 2s, to: 30s", "from: 50ms, to: 200ms")
                .replace("within: 15s", "within: 1s");
            stage.workflow(workflow, &text);
        }
        stage.secret("supabase-key", SERVICE_KEY).await;
        stage.secret("terminal-password", PASSWORD).await;
        stage
    }

    pub(crate) fn workflow(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join("workflows").join(format!("{name}.yaml")), text).unwrap();
    }

    /// Stores a secret through the binary, from standard input.
    pub(crate) async fn secret(&self, name: &str, value: &str) {
        let mut child = self.command(&["secret", "set", name]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(value.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The binary for this project.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bascule"));
        command
            .arg("-C")
            .arg(&self.folder)
            .env("BASCULE_CACHE", cache().join("compiled"))
            .env("BASCULE_KEY_FILE", &self.key)
            .env("BASCULE_PLUGINS", components())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs the binary to its end; what it said is kept beside the project.
    pub(crate) async fn bascule(&self, arguments: &[&str]) -> Said {
        self.keep(arguments, self.command(arguments).output().await.unwrap())
    }

    /// The same for another folder than the stage's own.
    pub(crate) async fn elsewhere(&self, folder: &Path, arguments: &[&str]) -> Said {
        let other = Self { folder: folder.to_owned(), key: self.key.clone() };
        self.keep(arguments, other.command(arguments).output().await.unwrap())
    }

    fn keep(&self, arguments: &[&str], output: std::process::Output) -> Said {
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        let log = self.folder.with_file_name("said.log");
        let mut text = std::fs::read_to_string(&log).unwrap_or_default();
        text.push_str(&format!("$ bascule {}\n{}{}", arguments.join(" "), said.out, said.err));
        std::fs::write(log, text).unwrap();
        said
    }

    /// Starts the binary and lets it run.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

/// The inventory for a fleet.
pub(crate) fn inventory(fleet: &Fleet) -> String {
    let scheme = if fleet.terminal(0).url().starts_with("https") { "https" } else { "http" };
    let tls = if scheme == "https" { "    tls: { pin: stored }\n" } else { "" };
    format!(
        r#"connections:
  hr:
    url: {supabase}
    auth:
      headers:
        apikey: {{ secret: supabase-key }}
        Authorization: {{ prefix: "Bearer ", secret: supabase-key }}
    test: /rest/v1/devices

  terminal:
    description: Any terminal of the devices table
    params: [device]
    url: "{scheme}://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth:
      digest: {{ user: {USER}, password: {{ secret: terminal-password }} }}
    allow:
      addresses: [127.0.0.0/8]
      methods: [GET, POST, PUT]
      paths: [/ISAPI/, /LOCALS/pic/]
{tls}    test: /ISAPI/System/deviceInfo

folders:
  photos: {{ path: ./photos }}
"#,
        supabase = fleet.supabase_url(),
    )
}

/// A fleet of that scenario.
pub(crate) async fn fleet(scenario: Scenario, terminals: usize) -> Fleet {
    Fleet::start(FleetOptions { terminals, scenario, ..FleetOptions::default() }).await.unwrap()
}

/// `employee_id=..` of the person with everything.
pub(crate) fn complete(fleet: &Fleet) -> String {
    format!("employee_id={}", fleet.people().complete().unwrap().id)
}
