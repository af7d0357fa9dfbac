//! `bascule serve`: webhooks in, the API, edits while it runs, the end and the next start.

use std::collections::BTreeSet;

use bascule_sim::{Fleet, Kind, Scenario};
use reqwest::Method;
use serde_json::{Value, json};

use crate::served::{Served, body, sign};
use crate::stage::{Stage, complete, fleet};

const HOOK: &str = "a-shared-key-for-the-web-app";

/// A stage with the secret of the shipped workflow's webhook.
async fn set(name: &str, fleet: &Fleet) -> Stage {
    let stage = Stage::set(name, fleet).await;
    stage.secret("photo-hook", HOOK).await;
    stage
}

/// A workflow that is quick and only looks.
fn look(trigger: &str) -> String {
    format!(
        "inputs:\n  note: {{ type: string, required: true }}\ntriggers:\n  - webhook: {trigger}\nsteps:\n  - id: devices\n    uses: supabase/tables.select\n    with: {{ database: hr, table: devices }}\noutput:\n  note: ${{{{ inputs.note }}}}\n  trigger: ${{{{ trigger }}}}\n"
    )
}

fn person(fleet: &Fleet) -> String {
    complete(fleet).strip_prefix("employee_id=").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_app_gets_the_summary_of_the_run_as_the_answer() {
    let fleet = fleet(Scenario::Calm, 4).await;
    let stage = set("hook-result", &fleet).await;
    let server = Served::start(&stage).await;
    let path = "/hooks/update-face-photo";
    let response = server.deliver(path, HOOK, &json!({ "angajat_id": person(&fleet) })).await;
    assert_eq!(response.status(), 200);
    let answer = body(response).await;
    assert_eq!(answer["status"], "succeeded", "{answer:#}");
    assert_eq!(answer["output"]["summary"]["succeeded"], 4, "{answer:#}");
    assert_eq!(answer["output"]["per_device"].as_array().unwrap().len(), 4);
    assert_eq!(fleet.ledger().of(Kind::FaceWrite).len(), 4);

    let run = server.get(&format!("/api/v1/runs/{}", answer["run"].as_str().unwrap())).await;
    assert_eq!(run["trigger"]["kind"], "webhook");
    assert_eq!(run["trigger"]["body"]["angajat_id"], person(&fleet));
    assert!(run["trigger"]["headers"]["x-signature-256"].is_null(), "{run:#}");
    let deliveries = server.get("/api/v1/deliveries?workflow=update-face-photo").await;
    assert_eq!((&deliveries[0]["answer"], &deliveries[0]["run"]), (&json!(200), &answer["run"]));

    // The other name of the field, and a person who does not exist: the answer says how it ended.
    let response =
        server.deliver(path, HOOK, &json!({ "employee_id": "00000000-0000-4000-8000-000000000000" })).await;
    let answer = body(response).await;
    assert_eq!((&answer["status"], &answer["error"]["kind"]), (&json!("failed"), &json!("not-found")));
    let log = server.stop().await;
    let started = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert!(started.clone().any(|line| line["message"] == "run started" && line["run"].is_string()), "{log}");
    assert!(!log.contains(HOOK));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_is_refused_with_a_reason_and_makes_no_run() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("hook-refused", &fleet).await;
    stage.workflow("small", &look("{ path: small, auth: none, max-body: 1KB, addresses: [192.0.2.0/24] }"));
    stage.workflow("tiny", &look("{ path: tiny, auth: none, max-body: 1KB }"));
    let server = Served::start(&stage).await;
    let text = json!({ "employee_id": person(&fleet) }).to_string();
    let fine = sign(HOOK, text.as_bytes());
    let json_type = ("content-type", "application/json");
    let hook = "/hooks/update-face-photo";
    for (path, headers, body_text, status, code) in [
        (hook, vec![json_type], text.clone(), 401, "unauthorized"),
        (hook, vec![json_type, ("x-signature-256", &fine)], format!("{text} "), 401, "unauthorized"),
        (hook, vec![json_type, ("x-signature-256", "00")], text.clone(), 401, "unauthorized"),
        (
            hook,
            vec![("content-type", "text/xml"), ("x-signature-256", &fine)],
            text.clone(),
            415,
            "unsupported-type",
        ),
        ("/hooks/nobody", vec![json_type], text.clone(), 404, "no-such-webhook"),
        ("/hooks/small", vec![json_type], text.clone(), 403, "address-not-allowed"),
        ("/hooks/tiny", vec![json_type], "x".repeat(2000), 413, "too-large"),
        ("/hooks/tiny", vec![json_type], "{\"note\": 1".to_owned(), 400, "malformed-body"),
        ("/hooks/tiny", vec![json_type], "{\"note\":\"a\",\"note\":\"b\"}".to_owned(), 400, "malformed-body"),
        ("/hooks/tiny", vec![json_type], "{\"other\": 1}".to_owned(), 422, "inputs"),
    ] {
        let response = server.post(path, &headers, body_text.clone()).await;
        let (got, answer) = (response.status(), body(response).await);
        assert_eq!(got, status, "{path} {headers:?} {body_text}: {answer:#}");
        assert_eq!(answer["error"]["code"], code, "{answer:#}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    // Without a length the body is counted as it comes.
    let pieces = futures_util::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let response = server.post("/hooks/tiny", &[json_type], reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!(response.status(), 413);
    assert_eq!(response.headers()["connection"], "close", "what is left of it is not waited for");
    let response = server.http.get(format!("{}{hook}", server.url)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()));

    assert_eq!(server.get("/api/v1/runs").await, json!([]));
    // Those that were sent by whom they should be are there to be seen, with every problem.
    let refused = server.get("/api/v1/deliveries?verdict=refused").await;
    let reasons: BTreeSet<&str> =
        refused.as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 3, "{refused:#}");
    assert!(reasons.iter().any(|reason| reason.starts_with("422")), "{reasons:?}");
    let response = server.post("/hooks/tiny", &[json_type], "{\"other\": 1}").await;
    let problems = &body(response).await["error"]["problems"];
    assert_eq!(problems.as_array().unwrap().len(), 2, "{problems:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spec_10_the_same_delivery_again_makes_no_second_run_and_is_answered_the_same() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("hook-duplicates", &fleet).await;
    let trigger = "{ path: once, auth: { header: { name: X-Key, secret: photo-hook } }, dedupe: \"${{ trigger.body.id }}\", inputs: { note: \"${{ trigger.body.id }}\" } }";
    stage.workflow("once", &look(trigger));
    let server = Served::start(&stage).await;
    let headers = [("x-key", HOOK), ("content-type", "application/json")];
    let send = |id: &str| server.post("/hooks/once", &headers, json!({ "id": id }).to_string());
    let mut answers = BTreeSet::new();
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.push(send("a"));
    }
    for response in futures_util::future::join_all(sent).await {
        assert_eq!(response.status(), 202);
        answers.insert(body(response).await.to_string());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(send("b").await.status(), 202);
    server.until("/api/v1/runs?status=succeeded", |runs| runs.as_array().unwrap().len() == 2).await;
    let deliveries = server.get("/api/v1/deliveries").await;
    let counts: Vec<&Value> = deliveries.as_array().unwrap().iter().map(|one| &one["duplicates"]).collect();
    assert_eq!(counts, [&json!(0), &json!(9)], "{deliveries:#}");
    // Also after a restart, and after one that nobody ordered.
    server.kill().await;
    let server = Served::start(&stage).await;
    let response = server.post("/hooks/once", &headers, json!({ "id": "a" }).to_string()).await;
    assert_eq!(response.headers()["bascule-verdict"], "duplicate");
    assert_eq!(body(response).await.to_string(), *answers.first().unwrap());
    assert_eq!(server.get("/api/v1/runs").await.as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminals_push_with_a_picture_is_answered_with_exactly_200_and_nothing_else() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("hook-push", &fleet).await;
    let trigger = "{ path: \"gate/{school}/{direction}\", auth: { digest: { user: gate, password: photo-hook } }, body: { multipart: { folder: photos } }, respond: empty, inputs: { note: \"${{ trigger.path.school }} ${{ trigger.path.direction }} ${{ trigger.body.event_log.serialNo }}\" } }";
    stage.workflow("gate", &look(trigger));
    let server = Served::start(&stage).await;
    let path = "/hooks/gate/north/in";
    let picture = b"\xff\xd8\xff\xe0 a face \xff\xd9";
    let mut pushed = b"--MIME_boundary\r\nContent-Disposition: form-data; name=\"event_log\"\r\n\r\n{\"serialNo\":7}\r\n--MIME_boundary\r\nContent-Disposition: form-data; name=\"Picture\"; filename=\"Picture.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n".to_vec();
    pushed.extend_from_slice(picture);
    pushed.extend_from_slice(b"\r\n--MIME_boundary--\r\n");
    let kind = ("content-type", "multipart/form-data; boundary=MIME_boundary");
    let challenged = server.post(path, &[kind], pushed.clone()).await;
    assert_eq!(challenged.status(), 401);
    let challenge = challenged.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let answer = digest(&challenge, "POST", path);
    let response = server.post(path, &[kind, ("authorization", &answer)], pushed.clone()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-length"], "0");
    assert!(response.bytes().await.unwrap().is_empty());
    // The same answer once more is a replay.
    let replay = server.post(path, &[kind, ("authorization", &answer)], pushed).await;
    assert_eq!(replay.status(), 401);
    assert!(replay.headers()["www-authenticate"].to_str().unwrap().contains("stale=true"));

    let runs = server.until("/api/v1/runs?status=succeeded", |runs| runs[0].is_object()).await;
    let run = server.get(&format!("/api/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
    assert_eq!(run["output"]["note"], "north in 7", "{run:#}");
    let file = run["trigger"]["body"]["Picture"]["file"].as_str().unwrap();
    assert_eq!(std::fs::read(stage.folder.join("photos").join(file)).unwrap(), picture);
    server.stop().await;
}

/// A client's answer to a digest challenge, recomputed by the simulator's code.
fn digest(challenge: &str, method: &str, uri: &str) -> String {
    let field = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=")).unwrap();
        rest.trim_start_matches('"').split(['"', ',']).next().unwrap().to_owned()
    };
    assert_eq!(field("algorithm"), "MD5");
    let (realm, nonce) = (field("realm"), field("nonce"));
    let parts = bascule_sim::DigestParts {
        algorithm: bascule_sim::Algorithm::Md5,
        user: "gate",
        realm: &realm,
        password: HOOK,
        method,
        uri,
        nonce: &nonce,
        protection: Some(("00000001", "f2/wE4q74E6z", "auth")),
    };
    let response = bascule_sim::digest_response(&parts);
    format!(
        "Digest username=\"gate\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth, nc=00000001, cnonce=\"f2/wE4q74E6z\", response=\"{response}\""
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_edit_is_told_with_its_place_and_what_was_there_before_goes_on() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("hook-edited", &fleet).await;
    let trigger = "{ path: look, auth: none, respond: result }";
    stage.workflow("look", &look(trigger));
    let server = Served::start(&stage).await;
    let ask = async || {
        let response =
            server.post("/hooks/look", &[("content-type", "application/json")], "{\"note\":\"x\"}").await;
        assert_eq!(response.status(), 200);
        body(response).await["output"]["note"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask().await, "x");
    stage.workflow(
        "look",
        &look(trigger).replace("uses: supabase/tables.select", "uses: supabase/tables.selec"),
    );
    let project = server
        .until("/api/v1/project", |project| !project["refused_edits"].as_array().unwrap().is_empty())
        .await;
    let problems = project["refused_edits"][0]["problems"].as_str().unwrap();
    assert!(problems.contains("look.yaml:7:") && problems.contains("did you mean"), "{problems}");
    assert_eq!(ask().await, "x");

    stage
        .workflow("look", &look(trigger).replace("note: ${{ inputs.note }}", "note: now ${{ inputs.note }}"));
    server.until("/api/v1/project", |project| project["refused_edits"] == json!([])).await;
    assert_eq!(ask().await, "now x");

    // The inventory likewise.
    let inventory = stage.folder.join("bascule.yaml");
    let good = std::fs::read_to_string(&inventory).unwrap();
    std::fs::write(&inventory, good.replace("folders:", "fodlers:")).unwrap();
    server.until("/api/v1/project", |project| !project["refused_edits"].as_array().unwrap().is_empty()).await;
    assert_eq!(ask().await, "now x");
    std::fs::write(&inventory, good.replace("Any terminal of the devices table", "Any terminal at all"))
        .unwrap();
    server.until("/api/v1/connections", |list| list.to_string().contains("Any terminal at all")).await;
    assert_eq!(ask().await, "now x");
    let log = server.stop().await;
    assert!(log.contains("this edit is not in use"), "{log}");
}

/// The shipped workflow, one terminal after the other.
fn slowly(stage: &Stage) {
    let path = stage.folder.join("workflows/update-face-photo.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("parallel: 16", "parallel: 1")).unwrap();
}

async fn some_writes(fleet: &Fleet, count: usize) {
    fleet
        .ledger()
        .until(|entries| entries.iter().filter(|entry| entry.kind == Kind::FaceWrite).count() >= count)
        .await;
}

/// Every terminal was written to, none of those that had ended twice.
fn each_once(fleet: &Fleet, at_most: usize) {
    let employee = fleet.people().complete().unwrap().employee_no.clone().unwrap();
    let mut twice = 0;
    for terminal in fleet.terminals() {
        let writes = fleet.ledger().face_writes(terminal.id(), &employee).len();
        assert!((1..=2).contains(&writes), "{}: {writes} writes", terminal.id());
        twice += writes - 1;
    }
    assert!(twice <= at_most, "{twice} terminals were written to twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_the_step_end_and_the_next_start_goes_on() {
    let fleet = fleet(Scenario::Calm, 12).await;
    let stage = set("serve-sigterm", &fleet).await;
    slowly(&stage);
    let server = Served::start(&stage).await;
    let start = server.api(Method::POST, "/api/v1/workflows/update-face-photo/runs", "operator");
    let started = start
        .body(json!({ "inputs": { "employee_id": person(&fleet) } }).to_string())
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(started.status(), 202);
    let run = body(started).await["run"].as_str().unwrap().to_owned();
    some_writes(&fleet, 3).await;
    server.stop().await;
    assert!(!stage.folder.join(".bascule/server.json").exists());
    let between = fleet.ledger().of(Kind::FaceWrite).len();
    assert!(between < 12, "the run was not cut off");

    let server = Served::start(&stage).await;
    let ended = server.until(&format!("/api/v1/runs/{run}"), |run| run["run"]["ended_at"].is_string()).await;
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    each_once(&fleet, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_the_next_start_goes_on_where_it_stopped() {
    let fleet = fleet(Scenario::Calm, 12).await;
    let stage = set("serve-killed", &fleet).await;
    slowly(&stage);
    let server = Served::start(&stage).await;
    let asked = json!({ "employee_id": person(&fleet) });
    let accepted = server.deliver("/hooks/update-face-photo", HOOK, &asked);
    tokio::select! {
        _ = accepted => panic!("the run ended before it could be killed"),
        () = some_writes(&fleet, 3) => {}
    }
    server.kill().await;
    assert!(stage.folder.join(".bascule/server.json").exists());

    let server = Served::start(&stage).await;
    let runs = server.until("/api/v1/runs", |runs| runs[0]["ended_at"].is_string()).await;
    assert_eq!((&runs[0]["status"], runs.as_array().unwrap().len()), (&json!("succeeded"), 1), "{runs:#}");
    // Only the one that was cut off in the middle of its call may be done again.
    each_once(&fleet, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_serves_whom_the_table_says_and_nobody_else() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("serve-roles", &fleet).await;
    let server = Served::start(&stage).await;
    let document = server.get("/api/v1/openapi.json").await;
    let ranks = ["none", "viewer", "operator", "admin"];
    let rank = |role: &str| ranks.iter().position(|known| *known == role).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let least = operation["x-role"].as_str().unwrap();
            let address = format!("{}{}", server.url, path.replace('{', "no-such-").replace('}', ""));
            let method: Method = method.to_ascii_uppercase().parse().unwrap();
            for who in ["none", "wrong", "viewer", "operator", "admin"] {
                let request =
                    server.http.request(method.clone(), &address).header("content-type", "application/json");
                let request = match who {
                    "none" => request,
                    "wrong" => request.bearer_auth("bascule_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
                    role => request.bearer_auth(server.token(role)),
                };
                let status = request.send().await.unwrap().status().as_u16();
                let known = if who == "wrong" { "none" } else { who };
                let expected = match (rank(known) >= rank(least), known) {
                    (true, _) => None,
                    (false, "none") => Some(401),
                    (false, _) => Some(403),
                };
                match expected {
                    Some(expected) => assert_eq!(status, expected, "{method} {path} as {who}"),
                    None => assert!(
                        !matches!(status, 401 | 403 | 405 | 500..),
                        "{method} {path} as {who}: {status}"
                    ),
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 100, "{asked}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_commands_work_through_the_server_that_owns_the_data_folder() {
    let fleet = fleet(Scenario::Calm, 3).await;
    let stage = set("serve-commands", &fleet).await;
    let server = Served::start(&stage).await;
    let said = stage.bascule(&["run", "update-face-photo", "--json", "-i", &complete(&fleet)]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let result = said.result();
    assert_eq!(result["output"]["summary"]["succeeded"], 3, "{result:#}");
    assert!(said.out.lines().any(|line| line.contains("\"event\":\"ended\"")), "{}", said.out);
    let run = result["run"].as_str().unwrap();
    let said = stage.bascule(&["run", "update-face-photo", "-i", "employee_id=nobody"]).await;
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.err.contains("employee_id"), "{}", said.err);
    let said = stage.bascule(&["run", "nobody"]).await;
    assert_eq!(said.code, 6, "{}{}", said.out, said.err);

    let said = stage.bascule(&["runs", "cancel", run]).await;
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    let said = stage.bascule(&["runs", "rerun", run, "--from", "start", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_ne!(said.result()["run"], run);
    let said = stage.bascule(&["resume"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("0 open"), "{}", said.out);
    assert_eq!(stage.bascule(&["runs", "list", "--json"]).await.json().as_array().unwrap().len(), 2);

    let said = stage.bascule(&["token", "create", "panel", "--role", "operator"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let token = said.out.trim().to_owned();
    let ask = async || {
        let request = server.http.get(format!("{}/api/v1/runs", server.url)).bearer_auth(&token);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask().await, 200);
    assert_eq!(stage.bascule(&["token", "remove", "panel"]).await.code, 0);
    assert_eq!(ask().await, 401);
    server.stop().await;
    // Without a server the command does it by itself.
    let said = stage.bascule(&["token", "list", "--json"]).await;
    assert_eq!(said.json().as_array().unwrap().len(), 3, "{}", said.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spec_10_a_disk_that_fails_ends_the_server_and_nothing_that_was_acknowledged_is_lost() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("serve-disk", &fleet).await;
    stage.workflow(
        "look",
        &look("{ path: look, auth: none, max-body: 64KB, inputs: { note: \"${{ trigger.body.id }}\" } }"),
    );
    // Tables and compiled plugins are there before.
    Served::start(&stage).await.stop().await;
    let server = Served::start_within(&stage, 3000).await;
    let mut acknowledged = BTreeSet::new();
    for number in 0..2000 {
        let body_text = json!({ "id": number.to_string(), "padding": "x".repeat(4000) }).to_string();
        let sent = server.http.post(format!("{}/hooks/look", server.url)).body(body_text);
        // Where the process is gone already, nobody was told anything.
        let Ok(response) = sent.header("content-type", "application/json").send().await else { break };
        match response.status().as_u16() {
            202 => acknowledged.insert(body(response).await["run"].as_str().unwrap().to_owned()),
            503 => break,
            other => panic!("{other}"),
        };
    }
    let (code, log) = server.ended().await;
    assert_eq!(code, 70, "{log}");
    assert!(log.contains("the database can no longer be written"), "{log}");
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());

    let server = Served::start(&stage).await;
    let runs = server
        .until("/api/v1/runs?limit=1000", |runs| {
            runs.as_array().unwrap().iter().all(|run| run["ended_at"].is_string())
        })
        .await;
    let found: BTreeSet<String> =
        runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
    assert!(acknowledged.is_subset(&found), "{:?}", acknowledged.difference(&found));
    // The one in the middle of its transaction may be there or not.
    assert!(
        found.len() <= acknowledged.len() + 1,
        "{} found, {} acknowledged",
        found.len(),
        acknowledged.len()
    );
    server.stop().await;
}
