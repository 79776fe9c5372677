-- Version 2: tasks that have ended are cleared out, and those that were interrupted end in an attempt.

-- The agent died during an attempt since the task was last completed or cancelled: files may be visible.
ALTER TABLE task ADD COLUMN unclean INTEGER NOT NULL DEFAULT 0;
-- Set only while such a task waits for the attempt that removes them: it is to be cancelled.
ALTER TABLE task ADD COLUMN cancel_waits INTEGER NOT NULL DEFAULT 0 CHECK (cancel_waits = 0 OR state = 'queued');

-- Clearing out walks it from the task that ended first.
CREATE INDEX task_ended ON task (updated_at) WHERE state IN ('completed', 'failed', 'cancelled');

-- What was cleared out still counts: a total never goes back.
CREATE TABLE cleared_count (state TEXT PRIMARY KEY, tasks INTEGER NOT NULL CHECK (tasks >= 0)) STRICT, WITHOUT ROWID;
INSERT INTO cleared_count (state, tasks) VALUES ('completed', 0), ('failed', 0), ('cancelled', 0);
CREATE TRIGGER cleared_count_delete AFTER DELETE ON task BEGIN
    UPDATE cleared_count SET tasks = tasks + 1 WHERE state = OLD.state;
END;

PRAGMA user_version = 2;
