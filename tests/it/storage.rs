//! Requirement R6, files: streamed into storage and out of it, signed, listed, moved; a storage that lies; and the shipped
//! workflow that prepares a photo and puts it there.

use bascule_sim::{Fault, Fleet, Kind, Length, Mishap, Scenario, StorageLie};
use serde_json::{Value, json};

use crate::stage::{Said, Stage, fleet, root};

async fn set(name: &str) -> (Fleet, Stage) {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set(name, &fleet).await;
    std::fs::create_dir_all(stage.folder.join("photos")).unwrap();
    (fleet, stage)
}

/// Runs one call of `supabase/..` on the connection `hr`.
async fn call(stage: &Stage, function: &str, with: &str) -> Said {
    stage.workflow(
        "one",
        &format!(
            "name: One\nsteps:\n  - id: it\n    uses: supabase/{function}\n    with: {{ database: hr{with} }}\noutput: ${{{{ steps.it.output }}}}\n"
        ),
    );
    stage.bascule(&["run", "one", "--json"]).await
}

async fn output(stage: &Stage, function: &str, with: &str) -> Value {
    let said = call(stage, function, with).await;
    assert_eq!(said.code, 0, "{function}: {}{}", said.out, said.err);
    said.result()["output"].clone()
}

async fn error(stage: &Stage, function: &str, with: &str) -> Value {
    let said = call(stage, function, with).await;
    assert_eq!(said.code, 1, "{function}: {}{}", said.out, said.err);
    said.result()["error"].clone()
}

fn write(stage: &Stage, name: &str, bytes: &[u8]) {
    std::fs::write(stage.folder.join("photos").join(name), bytes).unwrap();
}

/// Bytes that do not repeat soon.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_into_storage_and_comes_out_the_same() {
    let (fleet, stage) = set("storage-round").await;
    let bytes = noise(3_000_000);
    write(&stage, "big.bin", &bytes);
    let stored = output(
        &stage,
        "files.upload",
        ", folder: photos, name: big.bin, bucket: documents, path: \"in/big ö.bin\"",
    )
    .await;
    assert_eq!(
        (&stored["bytes"], &stored["content_type"]),
        (&json!(3_000_000), &json!("application/octet-stream"))
    );
    assert_eq!(fleet.supabase().object("documents", "in/big ö.bin").unwrap(), bytes);

    // Not twice by accident, but on request.
    let again = ", folder: photos, name: big.bin, bucket: documents, path: \"in/big ö.bin\"";
    let refused = error(&stage, "files.upload", again).await;
    assert_eq!((&refused["kind"], &refused["code"]), (&json!("conflict"), &json!("supabase:Duplicate")));
    write(&stage, "big.bin", &bytes[..1_000]);
    output(&stage, "files.upload", &format!("{again}, overwrite: true")).await;
    assert_eq!(fleet.supabase().object("documents", "in/big ö.bin").unwrap().len(), 1_000);

    let fetched = output(
        &stage,
        "files.fetch",
        ", address: \"in/big ö.bin\", bucket: documents, folder: photos, name: back.bin",
    )
    .await;
    assert_eq!(fetched["bytes"], 1_000);
    assert_eq!(std::fs::read(stage.folder.join("photos/back.bin")).unwrap(), &bytes[..1_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_signed_listed_moved_copied_and_deleted() {
    let (fleet, stage) = set("storage-verbs").await;
    let supabase = fleet.supabase();
    for number in 0..1_105 {
        supabase.put_object("documents", &format!("many/{number:04}.txt"), "text/plain", "x".into());
    }
    supabase.put_object("documents", "many/deep/er.txt", "text/plain", "xyz".into());

    let url =
        output(&stage, "files.signed-url", ", bucket: documents, path: many/deep/er.txt, expires-in: 60")
            .await;
    let read = reqwest::get(url.as_str().unwrap()).await.unwrap();
    assert_eq!(read.text().await.unwrap(), "xyz", "{url}");
    let several = output(
        &stage,
        "files.signed-urls",
        ", bucket: documents, paths: [many/0001.txt, none.txt], expires-in: 60",
    )
    .await;
    assert!(
        several[0]["url"].is_string() && several[1]["url"].is_null() && several[1]["error"].is_string(),
        "{several:#}"
    );

    let ticket = output(&stage, "files.signed-upload-url", ", bucket: documents, path: in/ticket.txt").await;
    let client = reqwest::Client::new();
    let put =
        client.put(ticket["url"].as_str().unwrap()).header("content-type", "text/plain").body("by ticket");
    assert_eq!(put.send().await.unwrap().status(), 200);
    assert_eq!(supabase.object("documents", "in/ticket.txt").unwrap(), "by ticket");

    let listed = output(&stage, "files.list", ", bucket: documents, folder: many").await;
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 1_106, "1,105 files and a folder");
    assert_eq!(listed.iter().filter(|entry| entry["is_folder"] == true).count(), 1);
    let deep = output(&stage, "files.list", ", bucket: documents, recursive: true, search: er").await;
    let found: Vec<&str> =
        deep.as_array().unwrap().iter().filter_map(|entry| entry["path"].as_str()).collect();
    assert_eq!(found, ["many/deep/er.txt"], "{deep:#}");
    let last =
        output(&stage, "files.list", ", bucket: documents, folder: many, descending: true, limit: 2").await;
    assert_eq!((&last[0]["name"], &last[1]["name"]), (&json!("deep"), &json!("1104.txt")), "{last:#}");

    output(&stage, "files.move", ", bucket: documents, path: many/0000.txt, to: kept/0.txt").await;
    output(&stage, "files.copy", ", bucket: documents, path: many/0001.txt, to: kept/1.txt").await;
    let there = |name: &str| supabase.object("documents", name).is_some();
    assert!(!there("many/0000.txt") && there("kept/0.txt") && there("many/0001.txt") && there("kept/1.txt"));
    let taken = error(&stage, "files.copy", ", bucket: documents, path: many/0002.txt, to: kept/1.txt").await;
    assert_eq!(taken["kind"], "conflict");

    let deleted =
        output(&stage, "files.delete", ", bucket: documents, paths: [kept/0.txt, kept/9.txt]").await;
    assert_eq!(deleted, json!({ "deleted": ["kept/0.txt"], "missing": ["kept/9.txt"] }));
    assert_eq!(
        error(&stage, "files.delete", ", bucket: documents, paths: []").await["kind"],
        "invalid-input"
    );
    assert!(there("kept/1.txt"));

    let made =
        output(&stage, "buckets.ensure", ", name: fresh, max-file-bytes: 1000, types: [text/plain]").await;
    assert_eq!((&made["created"], &made["bucket"]["public"]), (&json!(true), &json!(false)));
    assert_eq!(output(&stage, "buckets.ensure", ", name: fresh").await["created"], false);
    let open = error(&stage, "buckets.ensure", ", name: fresh, public: true").await;
    assert_eq!(open["code"], "supabase:bucket-access");
    let names = output(&stage, "buckets.list", "").await;
    assert_eq!(names.as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_storage_are_read_from_inside_its_http_400() {
    let (_fleet, stage) = set("storage-errors").await;
    write(&stage, "a.txt", b"x");
    let cases = [
        ("files.info", ", bucket: photos, path: none.jpg", "not-found", "supabase:not_found"),
        ("files.info", ", bucket: nowhere, path: a", "not-found", "supabase:Bucketnotfound"),
        (
            "files.upload",
            ", folder: photos, name: a.txt, bucket: photos, path: a.txt",
            "invalid-input",
            "supabase:invalid_mime_type",
        ),
        ("files.upload", ", folder: photos, name: none.txt, bucket: photos, path: a.jpg", "not-found", ""),
        (
            "files.upload",
            ", folder: photos, name: a.txt, bucket: photos, path: ../a.jpg",
            "invalid-input",
            "",
        ),
        (
            "files.signed-url",
            ", bucket: photos, path: none.jpg, expires-in: 60",
            "not-found",
            "supabase:not_found",
        ),
    ];
    for (function, with, kind, code) in cases {
        let error = error(&stage, function, with).await;
        assert_eq!(error["kind"], kind, "{function}{with}: {error:#}");
        if !code.is_empty() {
            assert_eq!(error["code"], code, "{function}{with}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_lies_is_found_out() {
    let (fleet, stage) = set("storage-lies").await;
    let supabase = fleet.supabase();
    write(&stage, "a.bin", &noise(10_000));
    let upload = ", folder: photos, name: a.bin, bucket: documents, path: a.bin, overwrite: true";
    for lie in [StorageLie::Forgets, StorageLie::Halves] {
        supabase.lie(lie);
        let error = error(&stage, "files.upload", upload).await;
        assert_eq!(
            (&error["kind"], &error["code"]),
            (&json!("verification-failed"), &json!("supabase:not-stored")),
            "{lie:?}"
        );
    }
    supabase.lie(StorageLie::Forgets);
    supabase.put_object("documents", "b.bin", "application/octet-stream", noise(10_000).into());
    let error_of = error(&stage, "files.copy", ", bucket: documents, path: b.bin, to: c.bin").await;
    assert_eq!(error_of["kind"], "verification-failed");
    assert_eq!(error(&stage, "buckets.ensure", ", name: ghost").await["kind"], "verification-failed");
    supabase.lie(StorageLie::None);

    let fault = |path: &str, method: &str, mishap: Mishap| Fault {
        path: format!("/storage/v1/object/{path}"),
        method: Some(method.to_owned()),
        authorized: false,
        skip: 0,
        times: 1,
        after_effect: false,
        mishap,
    };
    // An error that says 200, for an upload and for a download.
    let body = json!({ "statusCode": "413", "error": "Payload too large", "message": "The object exceeded the maximum allowed size" });
    let lie = |body: &Value| Mishap::Status {
        status: 200,
        body: body.to_string(),
        content_type: "application/json".to_owned(),
        headers: Vec::new(),
    };
    supabase.fault(fault("documents/a.bin", "POST", lie(&body)));
    assert_eq!(error(&stage, "files.upload", upload).await["code"], "supabase:Payloadtoolarge");
    let fetch = ", address: b.bin, bucket: documents, folder: photos, name: got.bin";
    let gone = json!({ "statusCode": "404", "error": "not_found", "message": "Object not found" });
    supabase.fault(fault("documents/b.bin", "GET", lie(&gone)));
    assert_eq!(error(&stage, "files.fetch", fetch).await["kind"], "not-found");
    // A body that is cut, one that is shorter than it says, one that is another file altogether.
    supabase.fault(fault("documents/b.bin", "GET", Mishap::Cut { after: 5_000 }));
    supabase.fault(fault("documents/b.bin", "GET", Mishap::Length(Length::Absent)));
    supabase.fault(fault("documents/b.bin", "GET", Mishap::Html));
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let said = call(&stage, "files.fetch", fetch).await;
        let result = said.result();
        let kept = stage.folder.join("photos/got.bin");
        if result["status"] == "succeeded" {
            assert_eq!(std::fs::read(&kept).unwrap(), noise(10_000), "something else was kept");
            std::fs::remove_file(&kept).unwrap();
        } else {
            assert!(!kept.exists(), "a part was kept under the final name: {}", said.out);
        }
        kinds.push(result["error"]["kind"].as_str().unwrap_or("none").to_owned());
    }
    assert_eq!(kinds[1..], ["none", "protocol"], "{kinds:?}");
    assert!(matches!(kinds[0].as_str(), "offline" | "protocol"), "{kinds:?}");
}

async fn shipped(name: &str) -> (Fleet, Stage) {
    let (fleet, stage) = set(name).await;
    let text = std::fs::read_to_string(root().join("workflows/photo-to-storage.yaml")).unwrap();
    stage.workflow("photo-to-storage", &text.replace("from: 1s, to: 10s", "from: 20ms, to: 50ms"));
    let path = stage.folder.join("bascule.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let start = text.find("  hr:\n").unwrap();
    let end = text.find("  terminal:\n").unwrap();
    let twin = text[start..end].replacen("  hr:", "  photo-store:", 1);
    std::fs::write(&path, text.replacen("  terminal:\n", &format!("{twin}  terminal:\n"), 1)).unwrap();
    let table = json!({ "terminal_photos": {
        "columns": { "employee_id": "uuid", "path": "text", "url": "text", "signed_at": "timestamptz", "valid_seconds": "bigint", "bytes": "bigint", "width": "bigint", "height": "bigint" },
        "primary_key": ["employee_id"],
    } });
    fleet.supabase().define_tables(&table).unwrap();
    (fleet, stage)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_is_prepared_stored_signed_and_written_down_and_a_second_run_replaces_it() {
    let (fleet, stage) = shipped("photo-to-storage").await;
    let id = fleet.people().complete().unwrap().id.clone();
    let input = format!("employee_id={id}");
    // The first upload is a lie; the second try is not.
    for _ in 0..2 {
        let said = stage.bascule(&["run", "photo-to-storage", "--json", "-i", &input]).await;
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        let rows = fleet.supabase().rows("terminal_photos").unwrap();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((&row["employee_id"], &row["valid_seconds"]), (&json!(id), &json!(604_800)));
        let picture = reqwest::get(row["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        let prepared = std::fs::read(stage.folder.join(format!("photos/ready/{id}.jpg"))).unwrap();
        assert_eq!(picture, prepared);
        assert!(picture.starts_with(&[0xFF, 0xD8]) && picture.len() <= 204_800);
        assert_eq!(row["bytes"], picture.len());
    }
    let writes = fleet.ledger().of(Kind::ObjectWrite);
    let uploads = writes
        .iter()
        .filter(|entry| entry.subject.as_deref() == Some(&format!("terminal-photos/faces/{id}.jpg")));
    assert_eq!(uploads.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_that_is_not_kept_leaves_no_row_and_a_public_bucket_is_not_used() {
    let (fleet, stage) = shipped("photo-to-storage-lies").await;
    let input = format!("employee_id={}", fleet.people().complete().unwrap().id);
    let said =
        stage.bascule(&["run", "photo-to-storage", "--json", "-i", &input, "-i", "bucket=photos"]).await;
    assert_eq!(said.result()["error"]["code"], "supabase:bucket-access", "{}", said.out);
    assert_eq!(call(&stage, "buckets.ensure", ", name: terminal-photos").await.code, 0);
    fleet.supabase().lie(StorageLie::Forgets);
    let said = stage.bascule(&["run", "photo-to-storage", "--json", "-i", &input]).await;
    assert_eq!(said.result()["error"]["kind"], "verification-failed", "{}", said.out);
    assert!(fleet.supabase().rows("terminal_photos").unwrap().is_empty());
    let nobody = format!("employee_id={}", fleet.people().without_photo().unwrap().id);
    let said = stage.bascule(&["run", "photo-to-storage", "--json", "-i", &nobody]).await;
    assert_eq!(
        (said.code, &said.result()["output"]["skipped"]),
        (0, &json!("the person has no photo")),
        "{}",
        said.out
    );
}
