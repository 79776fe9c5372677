-- Version 1. Moments are milliseconds since 1970-01-01 UTC.

CREATE TABLE run (
    -- Position in order of arrival, which is never given out again.
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    task_source TEXT NOT NULL,
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    rows INTEGER,
    bytes INTEGER,
    files INTEGER,
    report TEXT
) STRICT;

CREATE INDEX run_by_task ON run (task, sequence);
CREATE INDEX run_by_state ON run (state, sequence);
CREATE INDEX run_by_start ON run (started_at);

CREATE TABLE line (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    time INTEGER NOT NULL,
    level TEXT NOT NULL,
    target TEXT NOT NULL,
    message TEXT NOT NULL,
    fields TEXT NOT NULL
) STRICT;

CREATE INDEX line_by_run ON line (run, sequence);

PRAGMA user_version = 1;
