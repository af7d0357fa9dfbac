//! The journal's tables.

/// Instants are microseconds since 1970 (BIGINT), JSON is TEXT. `run_end` holds the ends that nobody has looked at yet:
/// a row is written with the end itself, and taken away by whoever starts other runs after it. A run with `removing` is on
/// its way out and is not found any more. A `once` key outlives its run. `run.plugins` repeats the last `plugins-pinned`
/// entry, so that it is quickly known which components are still needed.
pub(super) const STEPS: &[&str] = &[
    "
    CREATE TABLE workflow_text (
        digest TEXT PRIMARY KEY,
        text   TEXT NOT NULL
    );
    CREATE TABLE run (
        id              TEXT PRIMARY KEY,
        workflow        TEXT NOT NULL,
        digest          TEXT NOT NULL REFERENCES workflow_text (digest),
        status          TEXT NOT NULL,
        attempt         BIGINT NOT NULL,
        concurrency_key TEXT,
        started_at      BIGINT NOT NULL,
        ended_at        BIGINT,
        problem         TEXT,
        owner           TEXT,
        lease_until     BIGINT,
        epoch           BIGINT NOT NULL,
        crashes         BIGINT NOT NULL,
        next_entry      BIGINT NOT NULL,
        next_line       BIGINT NOT NULL
    );
    CREATE INDEX run_by_workflow ON run (workflow, id);
    CREATE INDEX run_open ON run (id) WHERE status IN ('queued', 'running');
    CREATE UNIQUE INDEX run_one_per_key ON run (concurrency_key)
        WHERE status = 'running' AND concurrency_key IS NOT NULL;
    CREATE TABLE journal_value (
        sha256 TEXT PRIMARY KEY,
        body   TEXT NOT NULL
    );
    CREATE TABLE journal_entry (
        run_id TEXT NOT NULL REFERENCES run (id),
        number BIGINT NOT NULL,
        at     BIGINT NOT NULL,
        kind   TEXT NOT NULL,
        place  TEXT,
        body   TEXT,
        value  TEXT REFERENCES journal_value (sha256),
        PRIMARY KEY (run_id, number)
    );
    CREATE TABLE run_line (
        run_id  TEXT NOT NULL REFERENCES run (id),
        number  BIGINT NOT NULL,
        at      BIGINT NOT NULL,
        place   TEXT NOT NULL,
        level   TEXT NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (run_id, number)
    );
    CREATE TABLE run_event (
        run_id TEXT NOT NULL REFERENCES run (id),
        name   TEXT NOT NULL,
        number BIGINT NOT NULL,
        at     BIGINT NOT NULL,
        body   TEXT NOT NULL,
        PRIMARY KEY (run_id, name, number)
    );
    CREATE TABLE once_key (
        workflow TEXT NOT NULL,
        step     TEXT NOT NULL,
        key      TEXT NOT NULL,
        run_id   TEXT NOT NULL REFERENCES run (id),
        at       BIGINT NOT NULL,
        PRIMARY KEY (workflow, step, key)
    );
",
    "
    CREATE TABLE run_end (
        run_id  TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        attempt BIGINT NOT NULL,
        status  TEXT NOT NULL,
        at      BIGINT NOT NULL,
        PRIMARY KEY (run_id, attempt)
    );
    CREATE INDEX run_open_by_key ON run (concurrency_key)
        WHERE status IN ('queued', 'running') AND concurrency_key IS NOT NULL;
",
    "
    CREATE INDEX journal_cancel ON journal_entry (run_id, number) WHERE kind IN ('cancel-asked', 'reopened');
",
    "
    ALTER TABLE run ADD COLUMN removing BIGINT;
    CREATE INDEX run_ended ON run (ended_at) WHERE ended_at IS NOT NULL;
    CREATE INDEX run_removing ON run (id) WHERE removing IS NOT NULL;
    CREATE INDEX run_by_digest ON run (digest);
    CREATE INDEX journal_entry_by_value ON journal_entry (value) WHERE value IS NOT NULL;
    CREATE TABLE once_key_kept (
        workflow TEXT NOT NULL,
        step     TEXT NOT NULL,
        key      TEXT NOT NULL,
        run_id   TEXT NOT NULL,
        at       BIGINT NOT NULL,
        PRIMARY KEY (workflow, step, key)
    );
    INSERT INTO once_key_kept SELECT workflow, step, key, run_id, at FROM once_key;
    DROP TABLE once_key;
    ALTER TABLE once_key_kept RENAME TO once_key;
    CREATE INDEX once_key_by_time ON once_key (at);
",
    "
    ALTER TABLE run ADD COLUMN plugins TEXT;
    CREATE INDEX run_by_plugins ON run (plugins)
        WHERE plugins IS NOT NULL AND status NOT IN ('succeeded', 'recovered', 'skipped');
",
];
