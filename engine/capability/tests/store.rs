//! Stores: versions, compare-and-set, limits.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bascule_capability::storage::Store;
use bascule_database::Database;
use bascule_workflow::failure::Kind;
use futures_util::future::join_all;
use serde_json::json;

async fn opened() -> (tempfile::TempDir, Database, Store) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    let store = Store::open("exported", &database).await.unwrap();
    (folder, database, store)
}

#[tokio::test]
async fn versions_rise_by_one_and_begin_at_one_again_after_a_delete() {
    let (_folder, _database, store) = opened().await;
    assert_eq!(store.get("k").await.unwrap(), None);
    assert_eq!(store.put("k", json!({"a": 1}), None).await.unwrap(), 1);
    assert_eq!(store.put("k", json!([1.5, null, "ü"]), None).await.unwrap(), 2);
    let stored = store.get("k").await.unwrap().unwrap();
    assert_eq!((stored.value, stored.version), (json!([1.5, null, "ü"]), 2));
    assert!(store.delete("k").await.unwrap());
    assert!(!store.delete("k").await.unwrap());
    assert_eq!(store.get("k").await.unwrap(), None);
    assert_eq!(store.put("k", json!(0), None).await.unwrap(), 1);
}

#[tokio::test]
async fn a_put_with_another_version_than_expected_changes_nothing() {
    let (_folder, _database, store) = opened().await;
    let failure = store.put("k", json!(1), Some(1)).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Conflict);
    assert!(failure.message.contains("does not exist, version 1 was expected"), "{}", failure.message);
    assert_eq!(store.put("k", json!(1), Some(0)).await.unwrap(), 1);
    let failure = store.put("k", json!(2), Some(0)).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Conflict);
    assert!(failure.message.contains("is at version 1, no such key was expected"), "{}", failure.message);
    assert_eq!(store.put("k", json!(2), Some(1)).await.unwrap(), 2);
    assert_eq!(store.put("k", json!(3), Some(1)).await.unwrap_err().kind, Kind::Conflict);
    assert_eq!(store.get("k").await.unwrap().unwrap().value, json!(2));
}

#[tokio::test]
async fn concurrent_compare_and_set_loses_no_increment() {
    let (_folder, _database, store) = opened().await;
    store.put("counter", json!(0), None).await.unwrap();
    join_all((0..20).map(|_| async {
        loop {
            let stored = store.get("counter").await.unwrap().unwrap();
            let next = json!(stored.value.as_i64().unwrap() + 1);
            match store.put("counter", next, Some(stored.version)).await {
                Ok(_) => break,
                Err(failure) => assert_eq!(failure.kind, Kind::Conflict),
            }
        }
    }))
    .await;
    let stored = store.get("counter").await.unwrap().unwrap();
    assert_eq!((stored.value, stored.version), (json!(20), 21));
}

#[tokio::test]
async fn stores_do_not_see_each_other_and_keep_their_values_over_a_restart() {
    let (folder, database, store) = opened().await;
    let other = Store::open("other", &database).await.unwrap();
    store.put("k", json!("one"), None).await.unwrap();
    other.put("k", json!("two"), None).await.unwrap();
    assert!(other.delete("k").await.unwrap());
    database.close().await;
    assert_eq!(store.put("k", json!("late"), None).await.unwrap_err().kind, Kind::Internal);

    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    let store = Store::open("exported", &database).await.unwrap();
    let other = Store::open("other", &database).await.unwrap();
    assert_eq!(store.get("k").await.unwrap().unwrap().value, json!("one"));
    assert_eq!(other.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn keys_are_listed_by_prefix_in_order() {
    let (_folder, _database, store) = opened().await;
    for key in ["b/2", "a", "b/1", "b", "b%", "ba", "c", "bä", "B"] {
        store.put(key, json!(1), None).await.unwrap();
    }
    assert_eq!(store.list("").await.unwrap(), ["B", "a", "b", "b%", "b/1", "b/2", "ba", "bä", "c"]);
    assert_eq!(store.list("b").await.unwrap(), ["b", "b%", "b/1", "b/2", "ba", "bä"]);
    assert_eq!(store.list("b/").await.unwrap(), ["b/1", "b/2"]);
    assert_eq!(store.list("b%").await.unwrap(), ["b%"]);
    assert_eq!(store.list("x").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_list_of_more_than_ten_thousand_is_refused() {
    let (_folder, database, store) = opened().await;
    database
        .write(|tx| {
            Box::pin(async move {
                sqlx::query(
                    "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
                     INSERT INTO store_entry SELECT 'exported', printf('%05d', i), '1', 1, '' FROM n",
                )
                .execute(tx)
                .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    assert_eq!(store.list("").await.unwrap_err().kind, Kind::InvalidInput);
    assert_eq!(store.list("0").await.unwrap().len(), 10_000);
}

#[tokio::test]
async fn limits_are_invalid_input() {
    let (_folder, _database, store) = opened().await;
    let fits = "x".repeat((256 << 10) - 2);
    store.put("k", json!(fits), None).await.unwrap();
    assert_eq!(store.put("k", json!(fits + "x"), None).await.unwrap_err().kind, Kind::InvalidInput);
    assert_eq!(store.get("k").await.unwrap().unwrap().version, 1);
    let long = "k".repeat(513);
    for key in ["", "a\nb", "a\0b", long.as_str()] {
        assert_eq!(store.get(key).await.unwrap_err().kind, Kind::InvalidInput);
        assert_eq!(store.put(key, json!(1), None).await.unwrap_err().kind, Kind::InvalidInput);
        assert_eq!(store.delete(key).await.unwrap_err().kind, Kind::InvalidInput);
    }
}
