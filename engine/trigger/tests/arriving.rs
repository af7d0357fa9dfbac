//! Files that arrive in folders.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bascule_run::record::RunRecord;
use bascule_trigger::file::{FileParts, Files, FolderPaths};
use serde_json::Value;
use std::sync::Arc;
use tempfile::TempDir;

use crate::support::{Site, Stage};

const WORKFLOW: &str = "
triggers:
  - file: { folder: inbox, pattern: \"*.csv\", settle: 5s }
steps:
  - uses: demo/things.echo
    with: { value: \"${{ trigger.name }}\" }
";

struct Inbox(TempDir);

impl FolderPaths for Inbox {
    fn path(&self, folder: &str) -> Option<PathBuf> {
        (folder == "inbox").then(|| self.0.path().join("inbox"))
    }
}

fn inbox() -> Arc<Inbox> {
    let inbox = Inbox(tempfile::tempdir().unwrap());
    fs::create_dir(inbox.0.path().join("inbox")).unwrap();
    Arc::new(inbox)
}

fn files(site: &Site, stage: &Stage, inbox: &Arc<Inbox>) -> Files {
    Files::new(FileParts {
        intake: stage.intake.clone(),
        book: site.shelf.clone(),
        clock: site.clock.clone(),
        folders: inbox.clone(),
        every: Duration::from_millis(1),
    })
}

async fn triggers(stage: &Stage) -> Vec<Value> {
    let mut all = Vec::new();
    for run in stage.runs().await {
        all.push(RunRecord::read(&*stage.journal, &run.id.to_string()).await.unwrap().trigger);
    }
    all
}

#[tokio::test]
async fn a_file_that_has_settled_makes_one_run() {
    let (site, inbox) = (Site::new(&[("import", WORKFLOW)]), inbox());
    let stage = site.open().await;
    let files = files(&site, &stage, &inbox);
    let file = inbox.path("inbox").unwrap().join("people.csv");
    fs::write(&file, "a").unwrap();
    fs::write(inbox.path("inbox").unwrap().join("people.csv.part"), "a").unwrap();
    files.step().await.unwrap();
    site.clock.advance(Duration::from_secs(4));
    // It is still being written.
    fs::write(&file, "ab").unwrap();
    files.step().await.unwrap();
    site.clock.advance(Duration::from_secs(4));
    files.step().await.unwrap();
    assert!(stage.runs().await.is_empty());
    site.clock.advance(Duration::from_secs(1));
    for _ in 0..3 {
        files.step().await.unwrap();
    }
    let triggers = triggers(&stage).await;
    assert_eq!(triggers.len(), 1);
    assert_eq!(
        (triggers[0]["kind"].as_str(), triggers[0]["name"].as_str(), triggers[0]["size"].as_u64()),
        (Some("file"), Some("people.csv"), Some(2))
    );
}

#[tokio::test]
async fn a_file_that_had_its_run_has_none_after_a_restart_but_another_content_has() {
    let (site, inbox) = (Site::new(&[("import", WORKFLOW)]), inbox());
    let file = inbox.path("inbox").unwrap().join("people.csv");
    fs::write(&file, "a").unwrap();
    // New; as it was; changed; gone and come back.
    for (expected, content) in [(1, None), (1, None), (2, Some("other")), (3, Some("another"))] {
        let stage = site.open().await;
        let files = files(&site, &stage, &inbox);
        if let Some(content) = content {
            fs::remove_file(&file).unwrap();
            files.step().await.unwrap();
            fs::write(&file, content).unwrap();
        }
        for _ in 0..3 {
            files.step().await.unwrap();
            site.clock.advance(Duration::from_secs(5));
        }
        assert_eq!(stage.runs().await.len(), expected);
        stage.crash(None).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_away_is_a_problem_and_loses_nothing() {
    let (site, inbox) = (Site::new(&[("import", WORKFLOW)]), inbox());
    let stage = site.open().await;
    let files = files(&site, &stage, &inbox);
    let folder = inbox.path("inbox").unwrap();
    fs::write(folder.join("people.csv"), "a").unwrap();
    files.step().await.unwrap();
    site.clock.advance(Duration::from_secs(5));
    files.step().await.unwrap();
    assert_eq!(stage.runs().await.len(), 1);
    let elsewhere = inbox.0.path().join("elsewhere");
    fs::rename(&folder, &elsewhere).unwrap();
    files.step().await.unwrap();
    assert!(files.problems()[0].reason.contains("cannot read"), "{:?}", files.problems());
    fs::rename(&elsewhere, &folder).unwrap();
    for _ in 0..3 {
        files.step().await.unwrap();
        site.clock.advance(Duration::from_secs(5));
    }
    assert!(files.problems().is_empty());
    assert_eq!(stage.runs().await.len(), 1);
}
