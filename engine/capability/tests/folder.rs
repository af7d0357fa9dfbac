//! Folders: rooted, atomic, tidy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use bascule_capability::storage::Folder;
use bascule_workflow::failure::Kind;
use bytes::Bytes;
use tokio::io::AsyncReadExt;

async fn opened() -> (tempfile::TempDir, Folder) {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("outside.txt"), "not yours").unwrap();
    let folder = Folder::open("exports", &outside.path().join("root")).await.unwrap();
    (outside, folder)
}

async fn names(folder: &Folder, prefix: &str) -> Vec<String> {
    folder.list(prefix).await.unwrap().into_iter().map(|entry| entry.name).collect()
}

/// All that lies in the root itself, hidden or not.
fn raw(outside: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(outside.join("root"))
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_written_can_be_read_listed_moved_and_deleted() {
    let (_outside, folder) = opened().await;
    let entry = folder.write("a/b/c.txt", Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!((entry.name.as_str(), entry.bytes), ("a/b/c.txt", 5));
    let age = jiff::Timestamp::now().duration_since(entry.modified);
    assert!(age.abs() < jiff::SignedDuration::from_secs(60), "{age:?}");
    assert_eq!(folder.stat("a/b/c.txt").await.unwrap(), entry);
    assert_eq!(folder.read("a/b/c.txt").await.unwrap(), "hello");

    folder.write("a/b/c.txt", Bytes::from_static(b"replaced")).await.unwrap();
    assert_eq!(folder.read("a/b/c.txt").await.unwrap(), "replaced");
    folder.write("z", Bytes::new()).await.unwrap();
    folder.write("a-file", Bytes::new()).await.unwrap();
    assert_eq!(names(&folder, "").await, ["a-file", "a/b/c.txt", "z"]);
    assert_eq!(names(&folder, "a").await, ["a-file", "a/b/c.txt"]);
    assert_eq!(names(&folder, "a/").await, ["a/b/c.txt"]);
    assert_eq!(names(&folder, "a/b/c").await, ["a/b/c.txt"]);
    assert_eq!(names(&folder, "a/x").await, [""; 0]);
    assert_eq!(names(&folder, "none/at/all").await, [""; 0]);
    assert_eq!(names(&folder, "z/below-a-file").await, [""; 0]);

    folder.rename("a/b/c.txt", "d/e").await.unwrap();
    assert_eq!(names(&folder, "").await, ["a-file", "d/e", "z"]);
    folder.rename("z", "d/e").await.unwrap();
    assert_eq!(folder.read("d/e").await.unwrap(), "");
    folder.delete("d/e").await.unwrap();
    folder.delete("d/e").await.unwrap();
    assert_eq!(names(&folder, "").await, ["a-file"]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_a_folder_is_not_a_file() {
    let (_outside, folder) = opened().await;
    folder.write("a/b", Bytes::new()).await.unwrap();
    assert_eq!(folder.stat("c").await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(folder.read("c").await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(folder.rename("c", "d").await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(folder.open_file("c").await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(folder.stat("a").await.unwrap_err().kind, Kind::InvalidInput);
    assert_eq!(folder.delete("a").await.unwrap_err().kind, Kind::InvalidInput);
    assert_eq!(folder.write("a/b/c", Bytes::new()).await.unwrap_err().kind, Kind::InvalidInput);
    assert_eq!(folder.write("a/b/c/d", Bytes::new()).await.unwrap_err().kind, Kind::InvalidInput);
    assert_eq!(folder.write("a", Bytes::new()).await.unwrap_err().kind, Kind::InvalidInput);
}

#[tokio::test]
async fn no_name_and_no_link_leads_out() {
    let (outside, folder) = opened().await;
    let root = outside.path().join("root");
    let absolute = outside.path().join("outside.txt");
    symlink("../outside.txt", root.join("relative-link")).unwrap();
    symlink(&absolute, root.join("absolute-link")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink(outside.path(), root.join("up-absolute")).unwrap();
    let data = || Bytes::from_static(b"mine now");
    for name in [
        "../outside.txt",
        absolute.to_str().unwrap(),
        "relative-link",
        "absolute-link",
        "up/outside.txt",
        "up-absolute/outside.txt",
        "up/root/../outside.txt",
    ] {
        let failures = [
            folder.stat(name).await.unwrap_err(),
            folder.read(name).await.unwrap_err(),
            folder.open_file(name).await.map(|_| ()).unwrap_err(),
            folder.rename(name, "taken").await.unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(failure.kind, Kind::Refused, "{name}: {failure:?}");
            assert!(!failure.message.contains("not yours"));
        }
    }
    for name in ["../new.txt", "up/new.txt", "up-absolute/new.txt", "up/outside.txt", "up/sub/new.txt"] {
        assert_eq!(folder.write(name, data()).await.unwrap_err().kind, Kind::Refused, "{name}");
        assert_eq!(folder.delete(name).await.unwrap_err().kind, Kind::Refused, "{name}");
        let overwrite = folder.create_temporary(name).await.map(|_| ()).unwrap_err();
        assert_eq!(overwrite.kind, Kind::Refused, "{name}");
    }
    assert_eq!(folder.list("up/").await.unwrap_err().kind, Kind::Refused);
    assert_eq!(names(&folder, "").await, [""; 0], "links are not listed");
    // A write replaces a link, it does not go through it.
    folder.write("relative-link", data()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&absolute).unwrap(), "not yours");
    assert!(!outside.path().join("new.txt").exists());
}

#[tokio::test]
async fn a_link_that_appears_while_a_file_is_written_does_not_lead_out_either() {
    let (outside, folder) = opened().await;
    for overwrite in [true, false] {
        let mut file = folder.create_temporary("sub/file").await.unwrap();
        file.write(b"x").await.unwrap();
        std::fs::remove_dir(outside.path().join("root/sub")).unwrap();
        symlink(outside.path(), outside.path().join("root/sub")).unwrap();
        assert_eq!(file.finish(overwrite).await.unwrap_err().kind, Kind::Refused, "{overwrite}");
        assert!(!outside.path().join("file").exists());
        std::fs::remove_file(outside.path().join("root/sub")).unwrap();
    }
    assert_eq!(raw(outside.path()), [""; 0]);
}

#[tokio::test]
async fn a_link_that_stays_inside_is_followed() {
    let (outside, folder) = opened().await;
    folder.write("a/b", Bytes::from_static(b"inside")).await.unwrap();
    symlink("a/b", outside.path().join("root/link")).unwrap();
    assert_eq!(folder.read("link").await.unwrap(), "inside");
    assert_eq!(names(&folder, "").await, ["a/b"]);
}

#[tokio::test]
async fn a_pipe_is_not_waited_for() {
    let (outside, folder) = opened().await;
    let made = Command::new("mkfifo").arg(outside.path().join("root/pipe")).status().unwrap();
    assert!(made.success());
    assert_eq!(folder.read("pipe").await.unwrap_err().kind, Kind::InvalidInput);
    assert_eq!(folder.open_file("pipe").await.map(|_| ()).unwrap_err().kind, Kind::InvalidInput);
}

#[tokio::test]
async fn an_unfinished_file_is_invisible_and_goes_when_it_is_dropped() {
    let (outside, folder) = opened().await;
    let mut file = folder.create_temporary("a/film.mp4").await.unwrap();
    file.write(b"half").await.unwrap();
    assert_eq!(names(&folder, "").await, [""; 0]);
    assert_eq!(raw(outside.path()).len(), 2, "the temporary file and the folder `a`");
    let hidden = raw(outside.path()).remove(0);
    assert!(hidden.starts_with(".bascule-part-"), "{hidden}");
    assert_eq!(folder.read(&hidden).await.unwrap_err().kind, Kind::Refused);
    assert_eq!(folder.delete(&hidden).await.unwrap_err().kind, Kind::Refused);
    drop(file);
    assert_eq!(raw(outside.path()), ["a"]);
}

#[tokio::test]
async fn a_finished_file_is_complete_under_its_name() {
    let (outside, folder) = opened().await;
    let mut file = folder.create_temporary("film.mp4").await.unwrap();
    for _ in 0..100 {
        file.write(&[7; 10_000]).await.unwrap();
    }
    let entry = file.finish(false).await.unwrap();
    assert_eq!((entry.name.as_str(), entry.bytes), ("film.mp4", 1_000_000));
    assert_eq!(raw(outside.path()), ["film.mp4"]);
    let (mut file, bytes) = folder.open_file("film.mp4").await.unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).await.unwrap();
    assert_eq!(bytes, 1_000_000);
    assert!(read.len() == 1_000_000 && read.iter().all(|&byte| byte == 7));
}

#[tokio::test]
async fn without_overwrite_one_of_many_wins_and_the_others_conflict() {
    let (outside, folder) = opened().await;
    let mut tasks = Vec::new();
    for number in 0..20u8 {
        let folder = folder.clone();
        tasks.push(tokio::spawn(async move {
            let mut file = folder.create_temporary("d/one").await.unwrap();
            file.write(&[number; 1000]).await.unwrap();
            file.finish(false).await.map(|_| number)
        }));
    }
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(number) => winners.push(number),
            Err(failure) => assert_eq!(failure.kind, Kind::Conflict),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(folder.read("d/one").await.unwrap(), vec![winners[0]; 1000]);
    assert_eq!(raw(outside.path()), ["d"]);
    let mut file = folder.create_temporary("d/one").await.unwrap();
    file.write(b"over").await.unwrap();
    file.finish(true).await.unwrap();
    assert_eq!(folder.read("d/one").await.unwrap(), "over");
}

#[tokio::test]
async fn opening_removes_what_a_killed_process_left_and_nothing_else() {
    let (outside, folder) = opened().await;
    folder.write("kept.txt", Bytes::from_static(b"kept")).await.unwrap();
    let root = outside.path().join("root");
    std::fs::write(root.join(".bascule-part-0123"), "left over").unwrap();
    std::fs::write(root.join(".hidden"), "somebody's").unwrap();
    let mut at_work = folder.create_temporary("at-work").await.unwrap();
    at_work.write(b"still ").await.unwrap();

    let again = Folder::open("exports", &root).await.unwrap();
    assert!(!root.join(".bascule-part-0123").exists());
    at_work.write(b"here").await.unwrap();
    at_work.finish(false).await.unwrap();
    assert_eq!(names(&again, "").await, [".hidden", "at-work", "kept.txt"]);
    assert_eq!(again.read("at-work").await.unwrap(), "still here");
}

#[tokio::test]
async fn too_large_a_file_is_not_read_whole() {
    let (outside, folder) = opened().await;
    let file = std::fs::File::create(outside.path().join("root/large")).unwrap();
    file.set_len(16 << 20).unwrap();
    assert_eq!(folder.read("large").await.unwrap().len(), 16 << 20);
    file.set_len((16 << 20) + 1).unwrap();
    let failure = folder.read("large").await.unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidInput);
    assert_eq!(folder.stat("large").await.unwrap().bytes, (16 << 20) + 1);
}

#[tokio::test]
async fn a_list_of_more_than_ten_thousand_is_refused() {
    let (outside, folder) = opened().await;
    for number in 0..10_001 {
        std::fs::File::create(outside.path().join(format!("root/{number:05}"))).unwrap();
    }
    let failure = folder.list("").await.unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidInput);
    assert!(failure.message.contains("narrower prefix"), "{}", failure.message);
    assert_eq!(folder.list("0").await.unwrap().len(), 10_000);
}

/// What the process does that the next test starts.
async fn inside_the_limit(path: &Path) {
    let folder = Folder::open("exports", path).await.unwrap();
    folder.write("small", Bytes::from_static(b"before")).await.unwrap();
    let failure = folder.write("small", Bytes::from(vec![1; 8 << 20])).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Internal, "{failure:?}");
    assert_eq!(folder.read("small").await.unwrap(), "before");
    std::fs::write(Path::new(&path).join("done"), "").unwrap();
}

#[tokio::test]
async fn a_write_that_does_not_fit_leaves_nothing_behind() {
    if let Some(path) = std::env::var_os("BASCULE_TEST_FOLDER") {
        return inside_the_limit(path.as_ref()).await;
    }
    let (outside, folder) = opened().await;
    let output = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 2048; exec "$0" --exact a_write_that_does_not_fit_leaves_nothing_behind"#])
        .arg(std::env::current_exe().unwrap())
        .env("BASCULE_TEST_FOLDER", outside.path().join("root"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(names(&folder, "").await, ["done", "small"]);
    assert_eq!(raw(outside.path()), ["done", "small"]);
}
