//! What somebody would write who only needs to keep webhooks: an axum handler, a row in SQLite for each, the same flush
//! before the answer. The other side of `webhooks`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::Mutex;

use crate::say;

struct Kept {
    key: String,
    connection: Mutex<SqliteConnection>,
}

/// Serves until it is killed; the first line of standard output is its address.
pub(crate) async fn serve(folder: &Path, key: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut connection = SqliteConnectOptions::new()
        .filename(folder.join("plain.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::query("CREATE TABLE passage (id TEXT PRIMARY KEY, at BIGINT NOT NULL, body TEXT NOT NULL)")
        .execute(&mut connection)
        .await?;
    let kept = Arc::new(Kept { key: key.to_owned(), connection: Mutex::new(connection) });
    let router = Router::new().route("/passage", post(take)).with_state(kept);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    say(&format!("http://{}", listener.local_addr()?));
    axum::serve(listener, router).await?;
    Ok(())
}

async fn take(
    State(kept): State<Arc<Kept>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    if headers.get("x-key").is_none_or(|key| key.as_bytes() != kept.key.as_bytes()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let id = body["id"].as_str().ok_or(StatusCode::UNPROCESSABLE_ENTITY)?.to_owned();
    let mut connection = kept.connection.lock().await;
    // One statement is one transaction: it is on disk when this returns.
    sqlx::query("INSERT INTO passage (id, at, body) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING")
        .bind(&id)
        .bind(jiff::Timestamp::now().as_microsecond())
        .bind(body.to_string())
        .execute(&mut *connection)
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id }))))
}
