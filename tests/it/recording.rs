//! Requirement R4 end to end: recorders that are exported every night, and how they lie.

use std::collections::BTreeMap;
use std::path::Path;

use bascule_sim::{
    Container, DownloadMethod, Drip, Empty, Entry, Fault, Fleet, FleetOptions, Inputs, Kind, Length, Mishap,
    PositionName, RECORDER_PASSWORD, RECORDER_USER, RangeAnswer, SERVICE_KEY, Scenario, SearchId, SearchTime,
    Snapshot, TrackList, WrongPosition,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::stage::{Said, Stage, root};

const WORKFLOW: &str = "nightly-nvr-export";

/// Kind and code of the error that must come of it, and what it switches.
type Lie = (&'static str, &'static str, fn(&mut bascule_sim::RecorderHabits));

async fn fleet(recorders: usize) -> Fleet {
    let options =
        FleetOptions { terminals: 1, recorders, scenario: Scenario::Calm, ..FleetOptions::default() };
    Fleet::start(options).await.unwrap()
}

/// A project with the shipped workflow, with short waits.
async fn set(name: &str, fleet: &Fleet) -> Stage {
    let stage = Stage::empty(name);
    let inventory = format!(
        r#"connections:
  recordings:
    url: {supabase}
    auth:
      headers:
        apikey: {{ secret: supabase-key }}
        Authorization: {{ prefix: "Bearer ", secret: supabase-key }}
    allow: {{ methods: [GET, POST], paths: [/rest/v1/recorders, /rest/v1/recordings] }}
  recorder:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth:
      digest: {{ user: {RECORDER_USER}, password: {{ secret: recorder-password }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST], paths: [/ISAPI/] }}
    parallel: 2
folders:
  recordings: {{ path: ./recordings }}
stores:
  exported: {{}}
"#,
        supabase = fleet.supabase_url(),
    );
    std::fs::write(stage.folder.join("bascule.yaml"), inventory).unwrap();
    let text = std::fs::read_to_string(root().join("workflows").join(format!("{WORKFLOW}.yaml"))).unwrap();
    let text = text
        .replace("from: 2s, to: 60s", "from: 20ms, to: 50ms")
        .replace("from: 5s, to: 60s", "from: 20ms, to: 50ms");
    stage.workflow(WORKFLOW, &text);
    stage.secret("supabase-key", SERVICE_KEY).await;
    stage.secret("recorder-password", RECORDER_PASSWORD).await;
    stage
}

async fn export(stage: &Stage, inputs: &[&str]) -> Said {
    let mut arguments = vec!["run", WORKFLOW, "--json"];
    for input in inputs {
        arguments.extend(["-i", input]);
    }
    stage.bascule(&arguments).await
}

/// Every file below the folder, with its sha256.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(one) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&one) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, hex::encode(Sha256::digest(std::fs::read(&path).unwrap())));
            }
        }
    }
    found
}

/// The recordings in the project's folder: those that are no records.
fn recordings(stage: &Stage) -> BTreeMap<String, String> {
    let mut all = files(&stage.folder.join("recordings"));
    all.retain(|name, _| !name.ends_with(".json"));
    all
}

/// sha256 of every finished segment, sorted.
fn expected(fleet: &Fleet) -> Vec<String> {
    let segments = fleet.recorders().iter().flat_map(bascule_sim::Recorder::segments);
    let mut hashes: Vec<String> = segments.filter(|s| !s.growing).map(|s| s.sha256()).collect();
    hashes.sort();
    hashes
}

fn hashes(stage: &Stage) -> Vec<String> {
    let mut hashes: Vec<String> = recordings(stage).into_values().collect();
    hashes.sort();
    hashes
}

/// How many segments were sent, once there are so many: a recorder notes one a moment after its last byte has gone out.
async fn sent(fleet: &Fleet, least: usize) -> usize {
    let count = |entries: &[Entry]| entries.iter().filter(|entry| entry.kind == Kind::SegmentSent).count();
    fleet.ledger().until(|entries| count(entries) >= least).await;
    count(&fleet.ledger().entries())
}

fn rows(fleet: &Fleet) -> Vec<Value> {
    fleet.supabase().rows("recordings").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_night_fetches_what_is_new_and_the_next_one_nothing() {
    let fleet = fleet(2).await;
    let stage = set("nvr-export", &fleet).await;
    let said = export(&stage, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.result()["output"]["recorders"]["succeeded"], 2);
    // Two recorders, two channels, six finished segments; the growing one is left alone.
    assert_eq!(expected(&fleet).len(), 24);
    assert_eq!(hashes(&stage), expected(&fleet));
    for (name, hash) in recordings(&stage) {
        let parts: Vec<&str> = name.split('/').collect();
        let [recorder, channel, day, file] = parts.as_slice() else { panic!("{name}") };
        assert!(recorder.starts_with("recorder-") && ["1", "2"].contains(channel), "{name}");
        let compact = day.replace('-', "");
        assert!(
            file.starts_with(&compact)
                && file.ends_with(".ps")
                && file.len() == "20261121T000000-20261121T001500.ps".len(),
            "{name}"
        );
        let record = stage.folder.join("recordings").join(name.replace(".ps", ".json"));
        let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
        assert_eq!(
            (record["sha256"].as_str(), record["size_checked"].as_bool()),
            (Some(hash.as_str()), Some(true))
        );
        let row = rows(&fleet).into_iter().find(|row| row["file"] == name.as_str()).unwrap();
        assert_eq!(
            (row["sha256"].as_str(), row["bytes"].as_u64()),
            (Some(hash.as_str()), record["bytes"].as_u64())
        );
        assert_eq!(
            (row["recorder"].as_str(), row["format"].as_str()),
            (Some(*recorder), Some("hikvision-ps"))
        );
    }
    assert_eq!(rows(&fleet).len(), 24);

    let sent = sent(&fleet, 24).await;
    assert_eq!(sent, 24);
    let said = export(&stage, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(fleet.ledger().of(Kind::SegmentSent).len(), sent, "something was fetched again");
    assert!(fleet.ledger().of(Kind::LoginFailed).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialect_of_recorders_is_found_and_remembered() {
    let fleet = fleet(4).await;
    // DS-7616NXI: braces, trackList, nothing else; downloads by POST.
    fleet.recorder(0).change(|habits| {
        habits.search_id = SearchId::Braces;
        habits.track_list = TrackList::TrackList;
        habits.needs_version = true;
        habits.refuse_extras = true;
        habits.position_name = PositionName::Correct;
        habits.wrong_position = WrongPosition::Rejected;
        habits.download = DownloadMethod::Post;
        habits.max_results = 2;
        habits.container = Container::Ps;
    });
    // DVR-208G: the misspelt position, and errors with 200; times are UTC; a hybrid.
    fleet.recorder(1).change(|habits| {
        habits.search_id = SearchId::Guid;
        habits.position_name = PositionName::Misspelt;
        habits.track_list = TrackList::TrackIdList;
        habits.errors_as_200 = true;
        habits.z = SearchTime::Utc;
        habits.max_results = 4;
        habits.counts_all = true;
        habits.inputs = Inputs::Analog;
        habits.download = DownloadMethod::Get;
    });
    // Takes the correct spelling and ignores the other: the same page comes again.
    fleet.recorder(2).change(|habits| {
        habits.position_name = PositionName::Correct;
        habits.wrong_position = WrongPosition::Ignored;
        habits.max_results = 3;
        habits.empty = Empty::Newline;
        habits.utc_offset_minutes = -180;
        habits.length = Length::Absent;
    });
    // Knows no position at all; times with their offset; downloads by time, without name and size.
    fleet.recorder(3).change(|habits| {
        habits.position_ignored = true;
        habits.max_results = 3;
        habits.z = SearchTime::Offset;
        habits.name_and_size = false;
        habits.length = Length::Chunked;
        habits.growing = false;
    });
    let stage = set("nvr-dialects", &fleet).await;
    let said = export(&stage, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(hashes(&stage), expected(&fleet), "{}", said.err);
    let named = recordings(&stage).into_keys().filter(|name| name.ends_with(".mpg")).count();
    assert_eq!(named, 12, "a bare program stream is no .ps");
    let unchecked = rows(&fleet).into_iter().filter(|row| row["size_checked"] == false);
    assert!(
        unchecked.clone().count() == 12 && unchecked.into_iter().all(|row| row["recorder"] == "recorder-04")
    );

    // What was refused is not tried again.
    let refused = fleet.ledger().of(Kind::SearchRefused).len();
    assert!(refused > 0);
    let said = export(&stage, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(fleet.ledger().of(Kind::SearchRefused).len(), refused);
    assert_eq!(sent(&fleet, 48).await, 48);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_that_lies_is_found_out_and_made_up_for_by_the_next_night() {
    let fleet = fleet(8).await;
    let lies: [Lie; 7] = [
        ("protocol", "host:too-short", |habits| habits.length = Length::Short),
        ("protocol", "host:too-short", |habits| habits.size_told_error = 5_000),
        ("protocol", "host:too-short", |habits| {
            habits.length = Length::Absent;
            habits.cut_at = Some(70_000);
        }),
        ("*", "*", |habits| habits.cut_at = Some(70_000)),
        ("invalid-input", "nvr:badParameters", |habits| habits.xml_in_200 = Some("badParameters".to_owned())),
        ("busy", "nvr:deviceBusy", |habits| habits.max_parallel = 0),
        ("protocol", "nvr:not-a-recording", |habits| habits.container = Container::Noise),
    ];
    for (recorder, (_, _, lie)) in fleet.recorders().iter().zip(lies) {
        recorder.change(|habits| {
            habits.channels = 1;
            habits.segments = 2;
            lie(habits);
        });
    }
    let stage = set("nvr-lies", &fleet).await;
    let said = export(&stage, &[]).await;
    let output = said.result()["output"].clone();
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(
        (&output["recorders"]["failed"], &output["recorders"]["succeeded"]),
        (&7.into(), &1.into()),
        "{output:#}"
    );
    for (place, (kind, code, _)) in lies.iter().enumerate() {
        let error = &output["errors"][place];
        assert_eq!(output["failed"][place], fleet.recorder(place).id());
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error:#}");
        if *kind == "*" {
            assert!(matches!(error["kind"].as_str(), Some("offline" | "protocol")), "{error:#}");
        } else {
            assert_eq!(
                (error["kind"].as_str(), error["code"].as_str()),
                (Some(*kind), Some(*code)),
                "{error:#}"
            );
        }
    }
    // Nothing of theirs is there, not even in part, and nothing is said to be.
    let names: Vec<String> = files(&stage.folder.join("recordings")).into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with("recorder-08/")), "{names:?}");
    assert!(rows(&fleet).iter().all(|row| row["recorder"] == "recorder-08"));

    for recorder in fleet.recorders() {
        recorder.change(|habits| {
            let (channels, segments) = (habits.channels, habits.segments);
            *habits = bascule_sim::RecorderHabits { channels, segments, ..Default::default() };
        });
    }
    let said = export(&stage, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(hashes(&stage), expected(&fleet));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_that_break_off_now_and_then_are_repeated_within_the_night() {
    let fleet = fleet(1).await;
    let recorder = fleet.recorder(0);
    for (skip, mishap) in [
        (0, Mishap::Cut { after: 100_000 }),
        (1, Mishap::Reset),
        (
            2,
            Mishap::Status {
                status: 503,
                body: String::new(),
                content_type: String::new(),
                headers: Vec::new(),
            },
        ),
        (3, Mishap::Slow(Drip { bytes: 16_384, every_ms: 1 })),
        (4, Mishap::Length(Length::Short)),
    ] {
        recorder.fault(Fault {
            path: "/ISAPI/ContentMgmt/download".to_owned(),
            method: None,
            authorized: true,
            skip,
            times: 1,
            after_effect: false,
            mishap,
        });
    }
    let stage = set("nvr-breaks", &fleet).await;
    let said = export(&stage, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(hashes(&stage), expected(&fleet));
}

/// What a recorder said of each of its sendings, e.g. `100000 of 200101 bytes from 83616`.
fn sendings(fleet: &Fleet, recorder: &str) -> Vec<String> {
    let entries = fleet.ledger().of(Kind::SegmentSent);
    let of_it = entries.into_iter().filter(|entry| entry.device == recorder);
    of_it.filter_map(|entry| entry.note).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_is_cut_again_and_again_goes_on_where_it_was() {
    let fleet = fleet(1).await;
    fleet.recorder(0).change(|habits| {
        habits.range = RangeAnswer::Honoured;
        habits.segment_bytes = 1_000_000;
        habits.cut_at = Some(300_000);
        habits.channels = 1;
        habits.segments = 2;
    });
    let stage = set("nvr-resumes", &fleet).await;
    // Without any retry of the step's own.
    let text = std::fs::read_to_string(stage.folder.join(format!("workflows/{WORKFLOW}.yaml"))).unwrap();
    stage.workflow(WORKFLOW, &text.replace("attempts: 4", "attempts: 1"));
    let said = export(&stage, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(hashes(&stage), expected(&fleet));
    assert_eq!(sent(&fleet, 8).await, 8, "four sendings each");
    let on = sendings(&fleet, "recorder-01").into_iter().filter(|note| note.contains(" from ")).count();
    assert_eq!(on, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_a_recorder_treats_a_range_only_the_right_bytes_are_stored() {
    let fleet = fleet(5).await;
    let answers = [
        RangeAnswer::Ignored,
        RangeAnswer::Honoured,
        RangeAnswer::NotSatisfiable,
        RangeAnswer::OtherPart,
        RangeAnswer::OtherContent,
    ];
    for (recorder, range) in fleet.recorders().iter().zip(answers) {
        recorder.change(|habits| {
            habits.range = range;
            habits.channels = 1;
            habits.segments = 1;
        });
        recorder.fault(Fault {
            path: "/ISAPI/ContentMgmt/download".to_owned(),
            method: None,
            authorized: true,
            skip: 0,
            times: 1,
            after_effect: false,
            mishap: Mishap::Cut { after: 150_000 },
        });
    }
    let stage = set("nvr-ranges", &fleet).await;
    let said = export(&stage, &[]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(hashes(&stage), expected(&fleet));
    // One to break off, then: the rest; the whole at once; or the whole after something that was of no use.
    assert_eq!(sent(&fleet, 12).await, 12);
    let counts: Vec<usize> =
        fleet.recorders().iter().map(|recorder| sendings(&fleet, recorder.id()).len()).collect();
    assert_eq!(counts, [2, 2, 2, 3, 3]);
    assert_eq!(fleet.ledger().of(Kind::SegmentRefused).len(), 1, "the 416");
    let left: Vec<String> = files(&stage.folder.join("recordings")).into_keys().collect();
    assert!(left.iter().all(|name| !name.contains("bascule-part")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_recording_that_a_kill_cut_off_goes_on_where_it_was() {
    let fleet = fleet(1).await;
    fleet.recorder(0).change(|habits| {
        habits.range = RangeAnswer::Honoured;
        habits.segment_bytes = 160 << 20;
        habits.channels = 1;
        habits.segments = 1;
        habits.slow = Some(Drip { bytes: 1 << 20, every_ms: 20 });
    });
    let stage = set("nvr-killed-large", &fleet).await;
    let mut child = stage.start(&["run", WORKFLOW]);
    // The first record of what has arrived is written after 64 MiB.
    let recordings = stage.folder.join("recordings");
    let is_kept = || {
        let mut entries = std::fs::read_dir(&recordings).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_str().is_some_and(|name| name.ends_with(".json")))
    };
    while !is_kept() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before anything was kept");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    child.kill().await.unwrap();
    assert!(hashes(&stage).len() <= 1, "nothing but the unfinished file");
    fleet.recorder(0).change(|habits| habits.slow = None);
    let said = stage.bascule(&["resume", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(hashes(&stage), expected(&fleet));
    assert_eq!(sent(&fleet, 2).await, 2);
    let from: u64 = sendings(&fleet, "recorder-01")
        .iter()
        .find_map(|note| note.split_once(" from ")?.1.parse().ok())
        .unwrap_or_else(|| panic!("{:?}", sendings(&fleet, "recorder-01")));
    assert!(from >= (64 << 20) - (16 << 10), "{from}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_recordings_make_room_and_are_not_fetched_again() {
    let fleet = fleet(1).await;
    let stage = set("nvr-retention", &fleet).await;
    let said = export(&stage, &["max_bytes=700000"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    // Of twelve files of about 200 kB three fit.
    assert_eq!((&output["kept"], output["deleted"].as_array().unwrap().len()), (&3.into(), 9), "{output:#}");
    let mut newest = fleet.recorder(0).segments();
    newest.retain(|segment| !segment.growing);
    newest.sort_by_key(|segment| std::cmp::Reverse((segment.start, segment.track)));
    let mut newest: Vec<String> = newest.iter().take(3).map(bascule_sim::Segment::sha256).collect();
    newest.sort();
    assert_eq!(hashes(&stage), newest);
    assert_eq!(files(&stage.folder.join("recordings")).len(), 6, "three recordings with their records");

    let said = export(&stage, &["max_bytes=700000"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(sent(&fleet, 12).await, 12);
    assert_eq!(rows(&fleet).len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_was_killed_goes_on_with_the_segment_it_was_at() {
    let fleet = fleet(1).await;
    fleet.recorder(0).change(|habits| habits.slow = Some(Drip { bytes: 65_536, every_ms: 20 }));
    let stage = set("nvr-killed", &fleet).await;
    let mut child = stage.start(&["run", WORKFLOW]);
    let sent = |entries: &[Entry]| entries.iter().filter(|entry| entry.kind == Kind::SegmentSent).count();
    fleet.ledger().until(|entries| sent(entries) >= 4).await;
    child.kill().await.unwrap();
    let said = stage.bascule(&["resume", "--json"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(hashes(&stage), expected(&fleet));
    assert_eq!(rows(&fleet).len(), 12);
    // Those that were under way are sent twice, no others.
    let sent = sent(&fleet.ledger().entries());
    assert!((12..=16).contains(&sent), "{sent} segments were sent");
    assert!(files(&stage.folder.join("recordings")).keys().all(|name| !name.contains(".download")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_tells_what_it_is_and_has() {
    let fleet = fleet(1).await;
    fleet.recorder(0).change(|habits| {
        habits.inputs = Inputs::Analog;
        habits.snapshot = Snapshot::BadXmlContent;
        habits.z = SearchTime::Utc;
    });
    let stage = set("nvr-facts", &fleet).await;
    stage.workflow(
        "facts",
        r#"
name: Facts
inputs: { port: { type: integer, required: true } }
steps:
  - { id: info, uses: nvr/device.info, with: { recorder: &r { connection: recorder, device: { ip: 127.0.0.1, port: "${{ inputs.port }}" } } } }
  - { id: status, uses: nvr/device.status, with: { recorder: *r } }
  - { id: disks, uses: nvr/device.storage, with: { recorder: *r } }
  - { id: channels, uses: nvr/device.channels, with: { recorder: *r } }
  - { id: tracks, uses: nvr/recordings.tracks, with: { recorder: *r } }
  - { id: clock, uses: nvr/recordings.clock-of, with: { recorder: *r, memory: exported } }
  - { id: picture, uses: nvr/snapshots.take, with: { recorder: *r, folder: recordings, name: yard.jpg, channel: 1 } }
output: { info: "${{ steps.info.output }}", status: "${{ steps.status.output }}", disks: "${{ steps.disks.output }}",
  channels: "${{ steps.channels.output }}", tracks: "${{ steps.tracks.output }}", clock: "${{ steps.clock.output }}" }
"#,
    );
    let said =
        stage.bascule(&["run", "facts", "--json", "-i", &format!("port={}", fleet.recorder(0).port())]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!(output["info"]["device_type"], "NVR");
    assert_eq!(output["status"]["cpu"], serde_json::json!([23]));
    assert_eq!(
        (&output["disks"][0]["capacity_mb"], &output["disks"][0]["free_mb"]),
        (&1_907_729.into(), &0.into())
    );
    let channels: Vec<(u64, &str)> = output["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|channel| (channel["id"].as_u64().unwrap(), channel["source"].as_str().unwrap()))
        .collect();
    assert_eq!(channels, [(1, "network"), (2, "network"), (3, "analog")]);
    assert_eq!(output["channels"][0]["name"], "Camera 01 & yard");
    assert_eq!(output["tracks"][1]["id"], 201);
    assert_eq!(
        (output["clock"]["z"].as_str(), output["clock"]["measured"].as_bool()),
        (Some("utc"), Some(true))
    );
    let picture = std::fs::read(stage.folder.join("recordings/yard.jpg")).unwrap();
    assert!(picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]));
    assert_eq!(fleet.ledger().of(Kind::SnapshotSent).len(), 1);

    // A recorder whose camera cannot make a picture says 200 and XML: no picture is made of that.
    fleet.recorder(0).change(|habits| habits.snapshot = Snapshot::DeviceError);
    let said =
        stage.bascule(&["run", "facts", "--json", "-i", &format!("port={}", fleet.recorder(0).port())]).await;
    assert_eq!(said.code, 1);
    assert_eq!(std::fs::read(stage.folder.join("recordings/yard.jpg")).unwrap(), picture);
}
