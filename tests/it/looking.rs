//! Looking at what there is: plugins, runs, secrets.

use bascule_sim::{PASSWORD, SERVICE_KEY, Scenario};

use crate::stage::{Stage, complete, fleet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_show_their_functions_types_and_docs() {
    let stage = Stage::empty("plugins");
    let said = stage.bascule(&["plugin", "list"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out.contains("bascule:isapi@0.1.0") && said.out.contains("bascule:supabase@0.1.0"),
        "{}",
        said.out
    );
    let said = stage.bascule(&["plugin", "show", "isapi/faces.modify"]).await;
    for part in
        ["uses: isapi/faces.modify", "terminal: connection", "fpid: string", "FDModify", "(may be left out)"]
    {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let said = stage.bascule(&["plugin", "show", "isappi"]).await;
    assert_eq!(said.code, 6);
    assert!(said.err.contains("there is ") && said.err.contains("isapi, "), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_run_can_be_understood_afterwards() {
    let fleet = fleet(Scenario::Demo, 10).await;
    let stage = Stage::set("understood", &fleet).await;
    stage.bascule(&["run", "update-face-photo", "-i", &complete(&fleet)]).await;
    let list = stage.bascule(&["runs", "list"]).await;
    assert!(list.out.contains("update-face-photo") && list.out.contains("failed"), "{}", list.out);
    assert_eq!(
        stage.bascule(&["runs", "list", "--status", "succeeded", "--json"]).await.json(),
        serde_json::json!([])
    );

    let shown = stage.bascule(&["runs", "show", "last"]).await;
    let offline = fleet.terminals().iter().zip(fleet.roles()).find(|(_, role)| *role == "offline").unwrap().0;
    for part in [
        "locked-out: ",
        "verification-failed: ",
        "offline: ",
        "catch isapi/faces.create attempt 1",
        "subStatusCode",
        &format!("[{}] failed", offline.id()),
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let step = stage.bascule(&["runs", "show", "last", "--step", "person"]).await;
    assert!(step.out.contains("person succeeded") && !step.out.contains("[terminal-"), "{}", step.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_listed_without_their_values() {
    let fleet = fleet(Scenario::Empty, 1).await;
    let stage = Stage::set("secrets", &fleet).await;
    let said = stage.bascule(&["secret", "list"]).await;
    assert!(said.out.contains("supabase-key") && said.out.contains("terminal-password"), "{}", said.out);
    assert!(!said.out.contains(PASSWORD) && !said.out.contains(SERVICE_KEY));
    let said = stage.bascule(&["secret", "set", "empty"]).await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains("no value"), "{}", said.err);
    let said = stage.bascule(&["secret", "remove", "supabase-key"]).await;
    assert_eq!(said.code, 0);
    assert!(!stage.bascule(&["secret", "list"]).await.out.contains("supabase-key"));
}

#[test]
fn the_canaries_are_the_secrets_that_the_suite_uses() {
    let canaries: Vec<&str> = xtask::canary::CANARIES.iter().map(|(_, secret)| *secret).collect();
    assert!(canaries.contains(&PASSWORD) && canaries.contains(&SERVICE_KEY), "{canaries:?}");
    assert!(
        canaries.contains(&bascule_sim::APP_KEY) && canaries.contains(&bascule_sim::APP_SECRET),
        "{canaries:?}"
    );
    assert!(
        canaries.contains(&bascule_sim::PARTNER_SECRET) && canaries.contains(&bascule_sim::BACKEND_KEY),
        "{canaries:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_are_printed_for_shells() {
    let stage = Stage::empty("completions");
    for shell in ["bash", "zsh", "fish"] {
        let said = stage.bascule(&["completions", shell]).await;
        assert!(said.code == 0 && said.out.contains("bascule"), "{shell}");
    }
}
