//! SIGTERM, SIGHUP and Ctrl-C end what this process started, and then the process itself. Without that a server or a
//! simulator would go on by itself: it is not told that nobody is there any more.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// How long a child may take to end in its own way.
const ORDERLY: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(10);

/// From now on; called once, before the first child.
pub(crate) fn ends_children_too() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut hang_up, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = hang_up.recv() => SignalKind::hangup(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            }
        });
        let begun = Instant::now();
        // One that starts meanwhile is found the next time round.
        while let Ok(children) = children()
            && !children.is_empty()
        {
            let how = if begun.elapsed() < ORDERLY { Signal::TERM } else { Signal::KILL };
            for child in children {
                // It may just have ended.
                let _gone = kill_process(child, how);
            }
            std::thread::sleep(if how == Signal::TERM { ORDERLY / 3 } else { LOOK });
        }
        std::process::exit(128 + number.as_raw_value());
    });
    Ok(())
}

/// This process's own children that have not ended.
fn children() -> Result<Vec<Pid>> {
    let own = std::process::id().to_string();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("no /proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        // It may have ended since.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // proc(5): the name in brackets may hold anything; behind it come state and parent.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        if parent == Some(own.as_str()) && state != Some("Z") {
            children.extend(Pid::from_raw(id));
        }
    }
    Ok(children)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    const INSIDE: &str = "BASCULE_TEST_INTERRUPTED";

    /// What the process does that the test below starts: a child that goes on, and one that does not listen.
    fn inside() -> ! {
        ends_children_too().unwrap();
        let scripts = ["exec sleep 600", "trap '' TERM; while :; do sleep 1; done"];
        let children = scripts.map(|script| {
            let child = Command::new("sh").args(["-c", script]).stdout(Stdio::null()).spawn().unwrap();
            writeln!(std::io::stderr(), "child {}", child.id()).unwrap();
            child
        });
        for mut child in children {
            child.wait().unwrap();
        }
        loop {
            std::thread::park();
        }
    }

    fn is_there(id: &str) -> bool {
        fs::read_to_string(format!("/proc/{id}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
    }

    #[test]
    fn a_process_that_is_told_to_end_takes_its_children_with_it() {
        if std::env::var_os(INSIDE).is_some() {
            inside();
        }
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "interrupt::tests::a_process_that_is_told_to_end_takes_its_children_with_it"])
            .arg("--nocapture")
            .env(INSIDE, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(parent.stderr.take().unwrap()).lines();
        let children: Vec<String> = lines
            .map(Result::unwrap)
            .filter_map(|line| line.strip_prefix("child ").map(str::to_owned))
            .take(2)
            .collect();
        assert!(children.iter().all(|child| is_there(child)), "{children:?}");
        let id = Pid::from_raw(i32::try_from(parent.id()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        assert_eq!(parent.wait().unwrap().code(), Some(128 + 15));
        assert!(!children.iter().any(|child| is_there(child)), "{children:?}");
    }
}
