-- Version 2: tasks that have ended are cleared out.

-- Clearing out walks it from the task that ended first.
CREATE INDEX task_ended ON task (updated_at) WHERE state IN ('completed', 'failed', 'cancelled');

-- What was cleared out still counts: a total never goes back.
CREATE TABLE cleared_count (state TEXT PRIMARY KEY, tasks INTEGER NOT NULL CHECK (tasks >= 0)) STRICT, WITHOUT ROWID;
INSERT INTO cleared_count (state, tasks) VALUES ('completed', 0), ('failed', 0), ('cancelled', 0);
CREATE TRIGGER cleared_count_delete AFTER DELETE ON task BEGIN
    UPDATE cleared_count SET tasks = tasks + 1 WHERE state = OLD.state;
END;

PRAGMA user_version = 2;
