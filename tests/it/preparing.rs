//! `workflows/prepare-photo.yaml`: photos from the database's storage, made fit for terminals, and everything that is
//! stored there in place of photos.

use bascule_sim::{Fault, Fleet, Mishap, Scenario};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use serde_json::{Value, json};

use crate::stage::{Said, Stage, complete, fleet, root};

async fn set(name: &str, fleet: &Fleet) -> Stage {
    let stage = Stage::set(name, fleet).await;
    let text = std::fs::read_to_string(root().join("workflows/prepare-photo.yaml")).unwrap();
    stage.workflow("prepare-photo", &text.replace("from: 1s, to: 10s", "from: 50ms, to: 200ms"));
    stage
}

async fn run(stage: &Stage, fleet: &Fleet, more: &[&str]) -> Said {
    let person = complete(fleet);
    let mut arguments = vec!["run", "prepare-photo", "--json", "-i", &person];
    for input in more {
        arguments.extend(["-i", input]);
    }
    stage.bascule(&arguments).await
}

/// The error of the step that failed.
async fn error(stage: &Stage) -> Value {
    let shown = stage.bascule(&["runs", "show", "last", "--json"]).await.json();
    let steps = shown["steps"].as_array().unwrap();
    let failed = steps.iter().find(|step| step["status"] == "failed");
    failed.unwrap_or_else(|| panic!("no step failed: {shown:#}"))["failure"].clone()
}

/// Puts other bytes in the place of the person's photo.
fn replace_photo(fleet: &Fleet, body: Vec<u8>) {
    let person = fleet.people().complete().unwrap();
    let place = fleet.people().0.iter().position(|other| other.id == person.id).unwrap() + 1;
    let name = format!("faces/{place:04}.jpg");
    assert!(fleet.supabase().object("photos", &name).is_some(), "{name}");
    fleet.supabase().put_object("photos", &name, "image/jpeg", body.into());
}

fn ready(stage: &Stage, fleet: &Fleet) -> std::path::PathBuf {
    let person = fleet.people().complete().unwrap();
    stage.folder.join(format!("photos/ready/{}.jpg", person.id))
}

/// What a camera held upright stores: lying on its side, 4:4:4, with a note which way is up. Left half dark, right half
/// light, as stored.
fn camera(width: u16, height: u16) -> Vec<u8> {
    let row: Vec<u8> = (0..width).flat_map(|x| [if x < width / 2 { 20 } else { 230 }; 3]).collect();
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, 95);
    encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    encoder.add_exif_metadata(&tiff).unwrap();
    encoder.encode(&row.repeat(height.into()), width, height, ColorType::Rgb).unwrap();
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_of_a_camera_is_turned_fitted_and_stored() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("prepare", &fleet).await;
    replace_photo(&fleet, [camera(1200, 900), b"\r\n--stray--\r\n".to_vec()].concat());
    let said = run(&stage, &fleet, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!((&output["width"], &output["height"]), (&json!(600), &json!(800)), "{output}");
    assert_eq!(output["original"]["orientation"], 6);
    assert_eq!(output["original"]["sampling"], "4:4:4");
    assert_eq!(output["original"]["stray_bytes"], 13);

    let stored = std::fs::read(ready(&stage, &fleet)).unwrap();
    assert_eq!(output["bytes"], json!(stored.len()));
    assert!(stored.len() <= 204_800 && stored.starts_with(&[0xFF, 0xD8]) && stored.ends_with(&[0xFF, 0xD9]));
    assert!(!stored.windows(4).any(|piece| piece == b"Exif"));

    let said = run(&stage, &fleet, &["size=500", "crop=square", "max_bytes=5000"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!(output["width"], output["height"]);
    assert!(output["bytes"].as_u64().unwrap() <= 5000, "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_in_place_of_a_photo_is_said_and_not_prepared() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("prepare-lies", &fleet).await;
    let whole = camera(1200, 900);
    let cases = [
        (whole[..whole.len() / 2].to_vec(), "photo:damaged", "ends in the middle"),
        (b"<html><body>Not Found</body></html>".to_vec(), "photo:not-a-picture", "an HTML page"),
        (
            br#"{"statusCode":"404","message":"Object not found"}"#.to_vec(),
            "supabase:http-404",
            "Object not found",
        ),
        (br#"{"photo":"none"}"#.to_vec(), "photo:not-a-picture", "a JSON answer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec(), "photo:unsupported", "HEIC"),
        (camera(320, 240), "photo:too-small", "400"),
        (Vec::new(), "photo:not-a-picture", "empty"),
    ];
    for (body, code, words) in cases {
        replace_photo(&fleet, body);
        let said = run(&stage, &fleet, &[]).await;
        assert_eq!(said.code, 1, "{code}: {}{}", said.out, said.err);
        let error = error(&stage).await;
        assert_eq!(error["code"], code, "{error:#}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error:#}");
        assert!(!ready(&stage, &fleet).exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_answers_with_a_page_or_breaks_off_is_not_believed() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("prepare-faults", &fleet).await;
    let fault = |mishap| Fault {
        path: "/storage/".to_owned(),
        method: None,
        authorized: false,
        skip: 0,
        times: 1,
        after_effect: false,
        mishap,
    };
    fleet.supabase().fault(fault(Mishap::Html));
    let said = run(&stage, &fleet, &[]).await;
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(error(&stage).await["code"], "photo:not-a-picture");

    // Half a photo and a broken connection: fetched again, and whole.
    fleet.supabase().fault(fault(Mishap::Cut { after: 500 }));
    let said = run(&stage, &fleet, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!((&output["width"], &output["height"]), (&json!(480), &json!(640)), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_without_a_photo_is_skipped_with_a_reason() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = set("prepare-none", &fleet).await;
    let person = format!("employee_id={}", fleet.people().without_photo().unwrap().id);
    let said = stage.bascule(&["run", "prepare-photo", "--json", "-i", &person]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.result()["output"]["file"], "");
    let shown = stage.bascule(&["runs", "show", "last", "--json"]).await.json();
    assert!(shown["steps"].to_string().contains("the person has no photo"), "{shown:#}");
}
