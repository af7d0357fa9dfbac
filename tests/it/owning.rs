//! One owner per data folder, and the key that opens it.

use bascule_database::Database;
use bascule_sim::Scenario;

use crate::stage::{Stage, complete, fleet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_told_who_owns_the_data_folder() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("owner", &fleet).await;
    let database = Database::open(&stage.folder.join(".bascule/bascule.db")).await.unwrap();
    let said = stage.bascule(&["run", "update-face-photo", "-i", &complete(&fleet)]).await;
    assert_eq!(said.code, 5, "{}", said.err);
    assert!(said.err.contains(&format!("process {}", std::process::id())), "{}", said.err);
    // Looking is possible all the same.
    assert_eq!(stage.bascule(&["runs", "list"]).await.code, 0);
    assert_eq!(stage.bascule(&["check"]).await.code, 0);
    database.close().await;
    let said = stage.bascule(&["run", "update-face-photo", "--quiet", "-i", &complete(&fleet)]).await;
    assert_eq!(said.code, 0, "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_key_file_is_not_replaced_in_silence() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("lost-key", &fleet).await;
    let key = stage.folder.with_file_name("master.key");
    let kept = stage.folder.with_file_name("kept.key");
    std::fs::rename(&key, &kept).unwrap();
    let said = stage.bascule(&["run", "update-face-photo", "-i", &complete(&fleet)]).await;
    assert_eq!(said.code, 3);
    assert!(said.err.contains("is missing") && said.err.contains("bring it back"), "{}", said.err);
    assert!(!key.exists());
    std::fs::rename(&kept, &key).unwrap();
    let said = stage.bascule(&["run", "update-face-photo", "--quiet", "-i", &complete(&fleet)]).await;
    assert_eq!(said.code, 0, "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_inside_the_data_folder_is_refused() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("key-inside", &fleet).await;
    let inside = stage.folder.join(".bascule/master.key");
    let said = stage.bascule(&["secret", "list", "--key-file", inside.to_str().unwrap()]).await;
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("inside the data folder"), "{}", said.err);
}
