-- Version 1. Moments are milliseconds since 1970-01-01 UTC.

CREATE TABLE task (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    priority INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- Set only while the task waits for the end of a back-off.
    eligible_at INTEGER CHECK (eligible_at IS NULL OR state = 'queued'),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested = 0 OR state = 'running'),
    -- Number of the last attempt: counts every start.
    attempt INTEGER NOT NULL DEFAULT 0,
    -- Attempts that failed since the task was submitted or retried by a person.
    failures INTEGER NOT NULL DEFAULT 0,
    -- Attempts in a row during which the agent died.
    interruptions INTEGER NOT NULL DEFAULT 0,
    receipt TEXT
) STRICT;

-- Leasing walks the first index in its order, and moves tasks into it with the second.
CREATE INDEX task_ready ON task (priority DESC, sequence) WHERE state = 'queued' AND eligible_at IS NULL;
CREATE INDEX task_back_off ON task (eligible_at) WHERE state = 'queued' AND eligible_at IS NOT NULL;
CREATE INDEX task_by_state ON task (state, sequence);

CREATE TABLE attempt (
    task INTEGER NOT NULL REFERENCES task (sequence),
    number INTEGER NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('running', 'completed', 'failed', 'cancelled', 'released', 'interrupted')),
    -- The outcome as it was reported, which tells a repeated report from a different one.
    outcome TEXT,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    report TEXT,
    PRIMARY KEY (task, number)
) STRICT, WITHOUT ROWID;

-- Counting a million finished tasks takes five rows.
CREATE TABLE task_count (state TEXT PRIMARY KEY, tasks INTEGER NOT NULL CHECK (tasks >= 0)) STRICT, WITHOUT ROWID;
INSERT INTO task_count (state, tasks)
VALUES ('queued', 0), ('running', 0), ('completed', 0), ('failed', 0), ('cancelled', 0);
CREATE TRIGGER task_count_insert AFTER INSERT ON task BEGIN
    UPDATE task_count SET tasks = tasks + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER task_count_update AFTER UPDATE OF state ON task WHEN OLD.state <> NEW.state BEGIN
    UPDATE task_count SET tasks = tasks - 1 WHERE state = OLD.state;
    UPDATE task_count SET tasks = tasks + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER task_count_delete AFTER DELETE ON task BEGIN
    UPDATE task_count SET tasks = tasks - 1 WHERE state = OLD.state;
END;

-- The row that a health check writes.
CREATE TABLE health (only INTEGER PRIMARY KEY CHECK (only = 1), checked_at INTEGER NOT NULL) STRICT;
INSERT INTO health (only, checked_at) VALUES (1, 0);

PRAGMA user_version = 1;
