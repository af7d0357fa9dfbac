//! A program under strace, in which one kind of system call is made to fail, or kills, at its number K.
//!
//! strace counts for each thread by itself. With the calls of one set of files that is the order in which the one thread that
//! writes them makes them; where several do, each of them fails at its own number K, and the first that gets there kills.
//! What the log does not show was not injected (with `trace=none`, or with `--seccomp-bpf` and a signal, nothing is).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The calls by which the program's data come to disk.
pub(super) const CALLS: [&str; 4] = ["fsync", "fdatasync", "pwrite64", "write"];
/// How long strace may take to write the end of its log once the program has ended.
const LOG_WITHIN: Duration = Duration::from_secs(10);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It fails: the disk is broken.
    Broken,
    /// It fails: no space left.
    Full,
    /// It writes none of its bytes and says so, the shortest of short writes.
    Short,
    /// The process is killed in it.
    Kill,
}

impl Way {
    /// What can become of that call.
    pub(super) fn of(call: &str) -> &'static [Self] {
        match call {
            "fsync" | "fdatasync" => &[Self::Broken, Self::Kill],
            _ => &[Self::Broken, Self::Full, Self::Short, Self::Kill],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Broken => "error=EIO",
            Self::Full => "error=ENOSPC",
            Self::Short => "retval=0",
            Self::Kill => "signal=KILL",
        }
    }
}

/// One call that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) call: &'static str,
    pub(super) way: Way,
    /// From 1.
    pub(super) number: u32,
}

impl Fault {
    /// One that never comes.
    pub(super) const NONE: Self = Self { call: "fsync", way: Way::Broken, number: 60_000 };
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, way, number } = self;
        write!(f, "{call} {number} {}", way.word())
    }
}

/// Where faults strike and where strace writes.
#[derive(Clone, Debug)]
pub(super) struct Aim {
    /// Only calls on these files and folders count; where there are none, every call.
    pub(super) paths: Vec<PathBuf>,
    pub(super) log: PathBuf,
}

/// Installs strace where it is missing.
pub(super) fn provide() -> Result<()> {
    crate::conformance::install("strace", &["strace"])
        .context("strace is needed and is not here; on Debian: apt-get install --yes strace")
}

/// `command` with that fault. strace stands beside it and not above, so that the child is the program itself: its id, its exit
/// code and its end are its own.
pub(super) fn under(command: &Command, fault: Fault, aim: &Aim) -> Command {
    let Fault { call, way, number } = fault;
    let mut traced = Command::new("strace");
    traced.args(["-D", "-f", "-y", "-ttt", "-s", "0", "-e"]);
    traced.arg(format!("trace={},ftruncate", CALLS.join(",")));
    traced.arg("-e").arg(format!("inject={call}:{}:when={number}", way.word()));
    for path in &aim.paths {
        traced.arg("-P").arg(path);
    }
    traced.arg("-o").arg(&aim.log).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

/// Runs `command` and gives the files and folders below `folder` that it wrote to or synced, as they were called then.
pub(super) fn paths_written(command: &Command, folder: &Path, log: &Path) -> Result<Vec<PathBuf>> {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-y", "-s", "0", "-e"]).arg(format!("trace={}", CALLS.join(",")));
    traced.arg("-o").arg(log).arg(command.get_program()).args(command.get_args());
    crate::process::output_of(&mut traced)?;
    let mut paths = BTreeSet::new();
    for line in String::from_utf8_lossy(&fs::read(log)?).lines() {
        let head = line.split_once(' ').map_or("", |(_, head)| head.trim_start());
        if let Some((_, path)) = call_of(head)
            && path.starts_with(folder)
        {
            paths.insert(path);
        }
    }
    Ok(paths.into_iter().collect())
}

/// A call that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Struck {
    /// Microseconds since 1970.
    pub(super) at: i64,
    pub(super) call: String,
    pub(super) path: PathBuf,
}

/// What strace saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// The calls that were made to fail. A kill is not among them: it shows in how the process ended.
    pub(super) struck: Vec<Struck>,
    /// Files that were synced again after a sync of theirs had failed.
    pub(super) synced_again: Vec<PathBuf>,
    /// How many calls of each kind the thread made that made most of them.
    pub(super) most: BTreeMap<String, u32>,
}

impl Trace {
    /// Reads the log of the process `id`, which has ended.
    pub(super) fn read(aim: &Aim, id: u32) -> Result<Self> {
        let begun = Instant::now();
        loop {
            // A name may be cut in the middle of a letter.
            let text = String::from_utf8_lossy(&fs::read(&aim.log).unwrap_or_default()).into_owned();
            if text.lines().any(|line| is_end(line, id)) {
                return Self::of(&text);
            }
            if begun.elapsed() > LOG_WITHIN {
                bail!("{} does not tell the end of process {id}: {text}", aim.log.display());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn of(text: &str) -> Result<Self> {
        let mut trace = Self::default();
        // What a thread has begun, where another one's line came between.
        let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
        let (mut failed, mut has_log) = (Vec::new(), false);
        let mut made: BTreeMap<(&str, String), u32> = BTreeMap::new();
        for line in text.lines() {
            let (thread, rest) =
                line.split_once(' ').with_context(|| format!("not a line of strace: {line}"))?;
            let (time, shown) = rest.trim_start().split_once(' ').context("a line without a time")?;
            if let Some(head) = shown.strip_suffix(" <unfinished ...>") {
                begun.insert(thread, head);
                continue;
            }
            let (head, tail) = match shown.strip_prefix("<... ") {
                Some(tail) => (begun.remove(thread).unwrap_or_default(), tail),
                None => (shown, shown),
            };
            let Some((call, path)) = call_of(head) else { continue };
            *made.entry((thread, call.to_owned())).or_default() += 1;
            if call == "ftruncate" {
                // What had not come to disk is taken away, as SQLite does where it undoes the making of a file.
                failed.retain(|one| *one != path);
                continue;
            }
            let is_sync = call.starts_with('f');
            if path.to_string_lossy().ends_with("-wal") {
                has_log = true;
            }
            // Another file's name in a folder is another matter than the one before. And as long as there is no write-ahead
            // log, SQLite puts back what was in the file, and syncs that.
            if is_sync && has_log && failed.contains(&path) && !path.is_dir() {
                trace.synced_again.push(path.clone());
            }
            if !tail.ends_with("(INJECTED)") {
                continue;
            }
            if is_sync && has_log {
                failed.push(path.clone());
            }
            // Seconds with six decimals.
            let at = time.replace('.', "").parse().with_context(|| format!("not a time: {line}"))?;
            trace.struck.push(Struck { at, call: call.to_owned(), path });
        }
        for ((_, call), count) in made {
            let most = trace.most.entry(call).or_default();
            *most = count.max(*most);
        }
        Ok(trace)
    }
}

fn is_end(line: &str, id: u32) -> bool {
    line.split_once(' ').is_some_and(|(thread, _)| thread.parse() == Ok(id)) && line.ends_with("+++")
}

/// `fsync(12</data/bascule.db>, ..` as the call and its file.
fn call_of(head: &str) -> Option<(&str, PathBuf)> {
    let (call, rest) = head.split_once('(')?;
    let (_, rest) = rest.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    Some((call, Path::new(path).to_owned()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_log_tells_what_failed_and_what_was_synced_again() {
        let text = "\
7 1795279668.100000 fsync(9</d/a-wal>)   = 0
8 1795279668.200000 fsync(12</d/b> <unfinished ...>
7 1795279668.300000 pwrite64(9</d/a>, \"\"..., 24, 0) = -1 ENOSPC (No space left on device) (INJECTED)
8 1795279668.400000 <... fsync resumed>) = -1 EIO (Input/output error) (INJECTED)
7 1795279668.500000 fsync(9</d/a>)       = 0
8 1795279668.600000 fdatasync(13</d/b>)  = 0
8 1795279668.700000 +++ exited with 70 +++
7 1795279668.800000 +++ exited with 70 +++
";
        let trace = Trace::of(text).unwrap();
        let struck = |at, call: &str, path: &str| Struck { at, call: call.to_owned(), path: path.into() };
        assert_eq!(
            trace.struck,
            [
                struck(1_795_279_668_300_000, "pwrite64", "/d/a"),
                struck(1_795_279_668_400_000, "fsync", "/d/b")
            ]
        );
        assert_eq!(trace.synced_again, [PathBuf::from("/d/b")]);
        assert_eq!((trace.most["fsync"], trace.most["pwrite64"], trace.most.get("write")), (2, 1, None));
        assert!(text.lines().any(|line| is_end(line, 7)) && !text.lines().any(|line| is_end(line, 9)));
    }

    #[test]
    fn what_was_made_to_fail_is_seen_in_a_real_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("out");
        let aim = Aim { paths: vec![path.clone()], log: folder.path().join("log") };
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"for i in 1 2 3; do echo "$i" || exit 9; done > "$0""#]).arg(&path);
        let found = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            #[expect(clippy::print_stdout, reason = "whoever runs the tests must see that this one did not")]
            {
                println!("NOT TESTED: strace is not here");
            }
            return;
        }
        for (number, code, struck) in [(2, Some(9), 1), (4, Some(0), 0)] {
            let fault = Fault { call: "write", way: Way::Full, number };
            let mut child = under(&shell, fault, &aim).stderr(Stdio::null()).spawn().unwrap();
            let status = child.wait().unwrap();
            let trace = Trace::read(&aim, child.id()).unwrap();
            assert_eq!((status.code(), trace.struck.len()), (code, struck), "{trace:?}");
        }
    }
}
