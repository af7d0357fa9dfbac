use anyhow::{Context as _, Result};
use bascule_sim::{Fleet, SERVICE_KEY, Scenario, StorageLie};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Said, fleet, plain};

async fn storage(
    fleet: &Fleet,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Said> {
    let url = format!("{}/storage/v1/{path}", fleet.supabase_url());
    let mut request = reqwest::Client::new()
        .request(method, url)
        .header("authorization", format!("Bearer {SERVICE_KEY}"))
        .body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Said::from(request.send().await?).await
}

async fn post(fleet: &Fleet, path: &str, body: Value) -> Result<Value> {
    storage(fleet, Method::POST, path, &[], body.to_string().into_bytes()).await?.json()
}

#[tokio::test]
async fn photos_are_public_jpegs() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let url = format!("{}/storage/v1/object/public/photos/faces/0001.jpg", fleet.supabase_url());
    let said = plain(url.clone()).await?;
    assert_eq!((said.status, said.header("content-type")), (200, "image/jpeg"));
    assert_eq!(
        fleet.supabase().object("photos", "faces/0001.jpg").map(|body| body.to_vec()),
        Some(said.body.clone())
    );
    let request = reqwest::Client::new().get(url).header("if-none-match", said.header("etag"));
    assert_eq!(Said::from(request.send().await?).await?.status, 304);
    Ok(())
}

#[tokio::test]
async fn errors_are_400_with_the_status_inside() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let jpeg = [("content-type", "image/jpeg")];
    let missing = plain(format!("{}/storage/v1/object/public/photos/none.jpg", fleet.supabase_url())).await?;
    assert_eq!(missing.status, 400);
    assert_eq!(
        missing.json()?,
        json!({ "statusCode": "404", "error": "not_found", "message": "Object not found" })
    );
    let private = plain(format!("{}/storage/v1/object/public/documents/a", fleet.supabase_url())).await?;
    assert_eq!((private.status, private.json()?["message"].clone()), (400, json!("Bucket not found")));
    let first = storage(&fleet, Method::POST, "object/photos/new/a%20b.jpg", &jpeg, b"one".to_vec()).await?;
    assert_eq!((first.status, first.json()?["Key"].clone()), (200, json!("photos/new/a b.jpg")));
    let again = storage(&fleet, Method::POST, "object/photos/new/a%20b.jpg", &jpeg, b"two".to_vec()).await?;
    assert_eq!(again.status, 400);
    assert_eq!(
        again.json()?,
        json!({ "statusCode": "409", "error": "Duplicate", "message": "The resource already exists" })
    );
    let upsert = [("content-type", "image/jpeg"), ("x-upsert", "true")];
    assert_eq!(
        storage(&fleet, Method::POST, "object/photos/new/a%20b.jpg", &upsert, b"two".to_vec()).await?.status,
        200
    );
    let text = storage(
        &fleet,
        Method::POST,
        "object/photos/a.txt",
        &[("content-type", "text/plain")],
        b"x".to_vec(),
    )
    .await?;
    assert_eq!((text.status, text.json()?["statusCode"].clone()), (400, json!("415")));
    let read = storage(&fleet, Method::GET, "object/photos/new/a%20b.jpg", &[], Vec::new()).await?;
    assert_eq!((read.status, read.body.as_slice()), (200, &b"two"[..]));
    let anyone = plain(format!("{}/storage/v1/object/photos/new/a%20b.jpg", fleet.supabase_url())).await?;
    assert_eq!(anyone.status, 400);
    Ok(())
}

#[tokio::test]
async fn signed_addresses_are_relative_and_checked() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    assert!(
        fleet
            .supabase()
            .put_object("documents", "d/report 1.txt", "text/plain", "hello".into())
            .ends_with("report 1.txt")
    );
    let made = post(&fleet, "object/sign/documents/d/report%201.txt", json!({ "expiresIn": 60 })).await?;
    let signed = made["signedURL"].as_str().context("no signedURL")?.to_owned();
    assert!(signed.starts_with("/object/sign/documents/d/report%201.txt?token="), "{signed}");
    let base = format!("{}/storage/v1", fleet.supabase_url());
    assert_eq!(plain(format!("{base}{signed}")).await?.text(), "hello");
    let forged = signed.replace("sim.", "sim.9");
    let refused = plain(format!("{base}{forged}")).await?;
    assert_eq!((refused.status, refused.json()?["error"].clone()), (400, json!("InvalidSignature")));
    let many = post(
        &fleet,
        "object/sign/documents",
        json!({ "expiresIn": 60, "paths": ["d/report 1.txt", "none"] }),
    )
    .await?;
    assert!(
        many[0]["signedURL"].is_string() && many[1]["signedURL"].is_null() && many[1]["error"].is_string()
    );
    Ok(())
}

#[tokio::test]
async fn files_are_listed_by_level_moved_and_removed() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let top = post(&fleet, "object/list/photos", json!({ "prefix": "", "limit": 10 })).await?;
    assert_eq!((&top[0]["name"], &top[0]["id"]), (&json!("faces"), &Value::Null));
    let faces =
        post(&fleet, "object/list/photos", json!({ "prefix": "faces", "limit": 2, "offset": 1 })).await?;
    let names: Vec<&str> =
        faces.as_array().into_iter().flatten().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["0002.jpg", "0003.jpg"]);
    let moved = json!({ "bucketId": "photos", "sourceKey": "faces/0001.jpg", "destinationKey": "old/1.jpg" });
    assert_eq!(post(&fleet, "object/move", moved).await?["message"], "Successfully moved");
    assert!(fleet.supabase().object("photos", "faces/0001.jpg").is_none());
    let removed = storage(
        &fleet,
        Method::DELETE,
        "object/photos",
        &[],
        json!({ "prefixes": ["old/1.jpg", "none"] }).to_string().into_bytes(),
    )
    .await?;
    assert_eq!(removed.json()?.as_array().map(Vec::len), Some(1));
    assert!(fleet.supabase().object("photos", "old/1.jpg").is_none());
    Ok(())
}

#[tokio::test]
async fn an_upload_ticket_is_for_one_file_and_keeps_its_word_about_replacing() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let made = post(&fleet, "object/upload/sign/documents/t/a%20b.txt", json!({})).await?;
    let url = made["url"].as_str().context("no url")?.to_owned();
    assert!(url.starts_with("/object/upload/sign/documents/t/a%20b.txt?token="), "{url}");
    let base = format!("{}/storage/v1", fleet.supabase_url());
    let put = |url: String| {
        let request = reqwest::Client::new().put(url).header("x-upsert", "true").body("hello");
        async move { Said::from(request.send().await?).await }
    };
    assert_eq!(put(format!("{base}{url}")).await?.status, 200);
    let again = put(format!("{base}{url}")).await?;
    assert_eq!(again.json()?["error"], "Duplicate", "the ticket did not allow to replace");
    let other = put(format!("{base}{}", url.replace("a%20b", "c"))).await?;
    assert_eq!(other.json()?["error"], "InvalidSignature");
    // A ticket for uploading opens nothing, and one for reading stores nothing.
    let token = made["token"].as_str().context("no token")?;
    let read = plain(format!("{base}/object/sign/documents/t/a%20b.txt?token={token}")).await?;
    assert_eq!(read.json()?["error"], "InvalidSignature");
    Ok(())
}

#[tokio::test]
async fn buckets_are_made_and_lies_are_told() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let bucket = json!({ "name": "new", "public": false, "allowed_mime_types": ["text/plain"] });
    assert_eq!(post(&fleet, "bucket", bucket.clone()).await?["name"], "new");
    assert_eq!(post(&fleet, "bucket", bucket).await?["error"], "Duplicate");
    for (lie, held) in
        [(StorageLie::Forgets, None), (StorageLie::Halves, Some(2)), (StorageLie::None, Some(4))]
    {
        fleet.supabase().lie(lie);
        let text = [("content-type", "text/plain"), ("x-upsert", "true")];
        let said = storage(&fleet, Method::POST, "object/new/a.txt", &text, b"four".to_vec()).await?;
        assert_eq!(
            (said.status, fleet.supabase().object("new", "a.txt").map(|body| body.len())),
            (200, held)
        );
    }
    let full = storage(&fleet, Method::DELETE, "bucket/new", &[], Vec::new()).await?;
    assert_eq!(full.json()?["message"], "The bucket you tried to delete is not empty");
    post(&fleet, "bucket/new/empty", json!({})).await?;
    assert_eq!(storage(&fleet, Method::DELETE, "bucket/new", &[], Vec::new()).await?.status, 200);
    Ok(())
}
