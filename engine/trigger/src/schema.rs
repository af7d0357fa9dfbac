//! The tables of triggers, queue and schedules.

/// Instants are microseconds since 1970 (BIGINT), JSON is TEXT.
///
/// - `delivery`: every demand for a run and what became of it; (workflow, source, dedupe) is unique.
/// - `run_order`: which of the waiting runs comes first, and how many runs started each other before it.
/// - `bucket`, `bucket_item`: demands that wait for more (`debounce`, `collect`).
/// - `schedule`, `slot`: how far a schedule is planned, and a row for each of its occurrences.
/// - `last_success`: when each workflow succeeded last, also when that run has been removed.
/// - `overdue`: since when a workflow is watched, and which lapse was told.
/// - `event_source`: where a source stopped, and until when nothing was missed.
/// - `file_seen`: the files that have made a run, as long as they lie in their folder.
/// - `workflow_pause`, `run_hold`: what does not begin, and why.
pub(crate) const STEPS: &[&str] = &[
    "
    CREATE TABLE delivery (
        id          TEXT PRIMARY KEY,
        workflow    TEXT NOT NULL,
        source      TEXT NOT NULL,
        dedupe      TEXT,
        received_at BIGINT NOT NULL,
        body_sha256 TEXT,
        answer      BIGINT,
        verdict     TEXT NOT NULL,
        reason      TEXT,
        run_id      TEXT,
        duplicates  BIGINT NOT NULL,
        last_at     BIGINT NOT NULL
    );
    CREATE UNIQUE INDEX delivery_once ON delivery (workflow, source, dedupe) WHERE dedupe IS NOT NULL;
    CREATE INDEX delivery_by_run ON delivery (run_id);
    CREATE TABLE run_order (
        run_id   TEXT PRIMARY KEY,
        number   BIGINT NOT NULL,
        priority BIGINT NOT NULL,
        depth    BIGINT NOT NULL
    );
    CREATE UNIQUE INDEX run_order_by_number ON run_order (number);
    CREATE TABLE bucket (
        id        TEXT PRIMARY KEY,
        workflow  TEXT NOT NULL,
        digest    TEXT NOT NULL,
        kind      TEXT NOT NULL,
        source    TEXT NOT NULL,
        key       TEXT NOT NULL,
        sealed    BIGINT NOT NULL,
        opened_at BIGINT NOT NULL,
        latest_at BIGINT NOT NULL,
        due_at    BIGINT NOT NULL,
        items     BIGINT NOT NULL
    );
    CREATE UNIQUE INDEX bucket_open ON bucket (workflow, source, key) WHERE sealed = 0;
    CREATE INDEX bucket_due ON bucket (due_at);
    CREATE TABLE bucket_item (
        bucket_id       TEXT NOT NULL REFERENCES bucket (id) ON DELETE CASCADE,
        number          BIGINT NOT NULL,
        delivery_id     TEXT NOT NULL,
        trigger_value   TEXT NOT NULL,
        inputs          TEXT NOT NULL,
        depth           BIGINT NOT NULL,
        concurrency_key TEXT,
        when_busy       TEXT,
        priority        BIGINT NOT NULL,
        PRIMARY KEY (bucket_id, number)
    );
    CREATE TABLE workflow_pause (
        workflow TEXT PRIMARY KEY,
        since    BIGINT NOT NULL,
        reason   TEXT NOT NULL
    );
    CREATE TABLE run_hold (
        run_id TEXT PRIMARY KEY,
        since  BIGINT NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TABLE schedule (
        workflow      TEXT NOT NULL,
        trigger_id    TEXT NOT NULL,
        line          TEXT NOT NULL,
        planned_until BIGINT NOT NULL,
        PRIMARY KEY (workflow, trigger_id)
    );
    CREATE TABLE slot (
        workflow    TEXT NOT NULL,
        trigger_id  TEXT NOT NULL,
        slot_at     BIGINT NOT NULL,
        due_at      BIGINT NOT NULL,
        state       TEXT NOT NULL,
        reason      TEXT,
        run_id      TEXT,
        occurrences BIGINT NOT NULL,
        decided_at  BIGINT,
        PRIMARY KEY (workflow, trigger_id, slot_at)
    );
    CREATE INDEX slot_planned ON slot (workflow, trigger_id, slot_at) WHERE state = 'planned';
    CREATE INDEX slot_by_time ON slot (slot_at);
    CREATE TABLE event_source (
        workflow       TEXT NOT NULL,
        trigger_id     TEXT NOT NULL,
        item           TEXT NOT NULL,
        cursor_value   TEXT,
        complete_until BIGINT,
        PRIMARY KEY (workflow, trigger_id, item)
    );
    CREATE TABLE file_seen (
        workflow   TEXT NOT NULL,
        trigger_id TEXT NOT NULL,
        name       TEXT NOT NULL,
        bytes      BIGINT NOT NULL,
        modified   BIGINT NOT NULL,
        seen_at    BIGINT NOT NULL,
        PRIMARY KEY (workflow, trigger_id, name)
    );
",
    "
    CREATE INDEX delivery_by_time ON delivery (last_at);
",
    "
    CREATE TABLE last_success (
        workflow TEXT PRIMARY KEY,
        run_id   TEXT NOT NULL,
        at       BIGINT NOT NULL
    );
    INSERT INTO last_success (workflow, run_id, at)
        SELECT workflow, id, ended_at FROM (
            SELECT workflow, id, ended_at,
                   ROW_NUMBER() OVER (PARTITION BY workflow ORDER BY ended_at DESC, id DESC) AS place
            FROM run WHERE ended_at IS NOT NULL AND status IN ('succeeded', 'recovered')
        ) AS ended WHERE place = 1;
    CREATE TABLE overdue (
        workflow   TEXT NOT NULL,
        trigger_id TEXT NOT NULL,
        name       TEXT NOT NULL,
        since      BIGINT NOT NULL,
        told_lapse BIGINT,
        told_at    BIGINT,
        PRIMARY KEY (workflow, trigger_id, name)
    );
",
    "
    CREATE INDEX slot_missed ON slot (workflow) WHERE state = 'missed';
",
];
