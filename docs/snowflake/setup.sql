-- The queue of the data exchange agent in Snowflake: database, schema, roles, stage, tables, procedures,
-- views. Running it again keeps every task and brings procedures, views and grants up to date.
--
-- Run it as a role that may create databases and roles (SYSADMIN with SECURITYADMIN, or ACCOUNTADMIN).
-- Other names: change these four lines, and the `database` and `schema` of the agent's configuration.
-- queue.md explains the design, expiry.sql adds the schedule that ends leases, teardown.sql removes it all.

SET queue_database = 'SNOWCONVERT_AI';
SET queue_schema = 'DATA_MIGRATION';
SET queue_warehouse = 'DATA_EXCHANGE';
SET setup_role = CURRENT_ROLE();

-- ---- Roles ------------------------------------------------------------------------------------------------
-- OWNER owns everything and belongs to nobody who works with it; AGENT may call what an agent calls;
-- OPERATOR may enqueue and retry, and read the views; VIEWER may read the views.

CREATE ROLE IF NOT EXISTS DATA_EXCHANGE_OWNER COMMENT = 'Owns the queue of the data exchange agent';
CREATE ROLE IF NOT EXISTS DATA_EXCHANGE_AGENT COMMENT = 'Takes tasks and writes to the stage; for the user of an agent';
CREATE ROLE IF NOT EXISTS DATA_EXCHANGE_OPERATOR COMMENT = 'Puts tasks into the queue, and looks at it';
CREATE ROLE IF NOT EXISTS DATA_EXCHANGE_VIEWER COMMENT = 'Looks at the queue';
GRANT ROLE DATA_EXCHANGE_VIEWER TO ROLE DATA_EXCHANGE_OPERATOR;
GRANT ROLE DATA_EXCHANGE_OPERATOR TO ROLE SYSADMIN;
GRANT ROLE DATA_EXCHANGE_OWNER TO ROLE SYSADMIN;

-- ---- Places -----------------------------------------------------------------------------------------------

CREATE WAREHOUSE IF NOT EXISTS IDENTIFIER($queue_warehouse)
    WAREHOUSE_SIZE = 'XSMALL' AUTO_SUSPEND = 60 AUTO_RESUME = TRUE INITIALLY_SUSPENDED = TRUE
    COMMENT = 'Calls of the data exchange agent';
CREATE DATABASE IF NOT EXISTS IDENTIFIER($queue_database);
USE DATABASE IDENTIFIER($queue_database);
CREATE SCHEMA IF NOT EXISTS IDENTIFIER($queue_schema);
USE SCHEMA IDENTIFIER($queue_schema);

GRANT USAGE ON WAREHOUSE IDENTIFIER($queue_warehouse) TO ROLE DATA_EXCHANGE_OWNER;
GRANT USAGE ON WAREHOUSE IDENTIFIER($queue_warehouse) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON WAREHOUSE IDENTIFIER($queue_warehouse) TO ROLE DATA_EXCHANGE_VIEWER;
GRANT USAGE ON DATABASE IDENTIFIER($queue_database) TO ROLE DATA_EXCHANGE_OWNER;
GRANT USAGE ON DATABASE IDENTIFIER($queue_database) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON DATABASE IDENTIFIER($queue_database) TO ROLE DATA_EXCHANGE_VIEWER;
GRANT ALL PRIVILEGES ON SCHEMA IDENTIFIER($queue_schema) TO ROLE DATA_EXCHANGE_OWNER;
GRANT USAGE ON SCHEMA IDENTIFIER($queue_schema) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON SCHEMA IDENTIFIER($queue_schema) TO ROLE DATA_EXCHANGE_VIEWER;

-- Whoever creates an object owns it, and procedures run with the rights of their owner.
SET setup_user = CURRENT_USER();
GRANT ROLE DATA_EXCHANGE_OWNER TO USER IDENTIFIER($setup_user);
USE ROLE DATA_EXCHANGE_OWNER;
USE WAREHOUSE IDENTIFIER($queue_warehouse);
USE DATABASE IDENTIFIER($queue_database);
USE SCHEMA IDENTIFIER($queue_schema);

-- ---- Stage ------------------------------------------------------------------------------------------------

CREATE STAGE IF NOT EXISTS EXTRACTS
    ENCRYPTION = (TYPE = 'SNOWFLAKE_FULL')
    COMMENT = 'Files of tasks; a task names it as @EXTRACTS/path/';

-- ---- Tables -----------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS TASK_QUEUE (
    TASK_ID VARCHAR(128) NOT NULL COMMENT 'Becomes part of file names: A-Z a-z 0-9 . _ -',
    PAYLOAD VARIANT NOT NULL COMMENT 'What to do, as agents understand it',
    AFFINITY VARCHAR(256) COMMENT 'Only agents with this affinity take the task; NULL: every agent',
    PRIORITY NUMBER(9, 0) NOT NULL COMMENT 'Higher runs first',
    STATE VARCHAR(16) NOT NULL COMMENT 'QUEUED, LEASED, COMPLETED or FAILED',
    ENQUEUED_AT TIMESTAMP_LTZ NOT NULL,
    ELIGIBLE_AT TIMESTAMP_LTZ NOT NULL COMMENT 'While QUEUED: not taken before',
    ATTEMPT NUMBER(9, 0) NOT NULL COMMENT 'Times that the task was taken',
    FAILURES NUMBER(9, 0) NOT NULL COMMENT 'Attempts that failed; MAX_ATTEMPTS of them fail the task',
    MAX_ATTEMPTS NUMBER(9, 0) NOT NULL,
    INTERRUPTIONS NUMBER(9, 0) NOT NULL COMMENT 'Leases in a row that ran out; five of them fail the task',
    LEASE_HOLDER VARCHAR(256) COMMENT 'While LEASED: the agent',
    LEASE_EXPIRES_AT TIMESTAMP_LTZ COMMENT 'While LEASED: when the lease ends unless it is refreshed',
    FINISHED_AT TIMESTAMP_LTZ COMMENT 'While COMPLETED or FAILED',
    FINISHED_BY VARCHAR(256) COMMENT 'While COMPLETED or FAILED: the agent; NULL when leases ran out',
    LAST_ERROR VARCHAR(4000) COMMENT 'Why the last attempt that failed did',
    RECEIPT VARIANT COMMENT 'While COMPLETED: files, rows and bytes, from agents that tell them',
    CHANGE_ID VARCHAR(36) NOT NULL COMMENT 'Names the call that changed the row last',
    CONSTRAINT TASK_QUEUE_KEY PRIMARY KEY (TASK_ID)
) COMMENT = 'One row a task. Only procedures change it; every change depends on the state that it finds';

CREATE TABLE IF NOT EXISTS AGENT_REGISTRY (
    AGENT_ID VARCHAR(256) NOT NULL,
    AGENT_TYPE VARCHAR(256),
    AFFINITY VARCHAR(256),
    FIRST_SEEN_AT TIMESTAMP_LTZ NOT NULL,
    LAST_SEEN_AT TIMESTAMP_LTZ NOT NULL COMMENT 'To about a minute',
    CONSTRAINT AGENT_REGISTRY_KEY PRIMARY KEY (AGENT_ID)
) COMMENT = 'Agents that have asked for tasks';

CREATE TABLE IF NOT EXISTS QUEUE_EVENT (
    HAPPENED_AT TIMESTAMP_LTZ NOT NULL,
    TASK_ID VARCHAR(128) NOT NULL,
    ATTEMPT NUMBER(9, 0) NOT NULL,
    AGENT_ID VARCHAR(256),
    EVENT VARCHAR(16) NOT NULL COMMENT 'ENQUEUED, PULLED, COMPLETED, FAILED, REJECTED, RELEASED, EXPIRED, RETRIED',
    STATE VARCHAR(16) NOT NULL COMMENT 'Of the task afterwards',
    MESSAGE VARCHAR(4000)
) COMMENT = 'What happened to tasks; only added to';

CREATE TABLE IF NOT EXISTS AGENT_RUN (
    AGENT_ID VARCHAR(256) NOT NULL,
    TASK_SOURCE VARCHAR(64) NOT NULL COMMENT 'snowflake_stored_procedure: this queue; local: POST /tasks of the agent',
    TASK_ID VARCHAR(128) NOT NULL,
    ATTEMPT NUMBER(9, 0) NOT NULL,
    STATUS VARCHAR(16) NOT NULL COMMENT 'running, completed, failed, cancelled, released or lost',
    SOURCE VARCHAR(256) COMMENT 'Name of the source connection',
    DESTINATION VARCHAR(256) COMMENT 'Name of the target connection',
    STARTED_AT TIMESTAMP_LTZ NOT NULL COMMENT 'By the clock of the agent',
    FINISHED_AT TIMESTAMP_LTZ,
    ROW_COUNT NUMBER(38, 0),
    BYTE_COUNT NUMBER(38, 0),
    FILE_COUNT NUMBER(38, 0),
    ERROR VARIANT COMMENT 'Kind, message and remedy'
) COMMENT = 'What agents tell of their attempts; some may be missing';

CREATE TABLE IF NOT EXISTS AGENT_LOG (
    AGENT_ID VARCHAR(256) NOT NULL,
    TASK_SOURCE VARCHAR(64) NOT NULL,
    TASK_ID VARCHAR(128) NOT NULL,
    ATTEMPT NUMBER(9, 0) NOT NULL,
    LOGGED_AT TIMESTAMP_LTZ NOT NULL COMMENT 'By the clock of the agent',
    LEVEL VARCHAR(8) NOT NULL,
    TARGET VARCHAR(256) COMMENT 'Part of the agent',
    MESSAGE VARCHAR(5000),
    FIELDS VARIANT
) COMMENT = 'Log lines of attempts; some may be missing';

-- Which task was loaded into which table; loading.md says why. Agents take this table when their connection says
-- load_control_table = "SNOWCONVERT_AI.DATA_MIGRATION.DATA_EXCHANGE_AGENT_LOADS", and else make one of this form
-- beside each table that they load.
CREATE TABLE IF NOT EXISTS DATA_EXCHANGE_AGENT_LOADS (
    TASK_ID VARCHAR NOT NULL COMMENT 'Whose files',
    TARGET_TABLE VARCHAR NOT NULL COMMENT '"DATABASE"."SCHEMA"."TABLE"',
    STATE VARCHAR NOT NULL COMMENT 'OPEN, or LOADED together with the rows',
    MODE VARCHAR NOT NULL COMMENT 'append, replace or merge',
    STAGE VARCHAR NOT NULL COMMENT 'Where the files were',
    FILES NUMBER(38,0) NOT NULL COMMENT 'Files that were loaded',
    ROWS_LOADED NUMBER(38,0) COMMENT 'Rows in the files',
    ROWS_INSERTED NUMBER(38,0) COMMENT 'Rows that the table got',
    ROWS_UPDATED NUMBER(38,0) COMMENT 'Rows of the table that were changed',
    ROWS_DELETED NUMBER(38,0) COMMENT 'Rows of the table that went',
    RECEIPT VARCHAR COMMENT 'JSON: the files with their rows, bytes and SHA-256',
    AGENT_VERSION VARCHAR,
    OPENED_AT TIMESTAMP_LTZ,
    LOADED_AT TIMESTAMP_LTZ
) COMMENT = 'Loads of the data exchange agent: one row for each task and table';

-- ---- Procedures of the contract ---------------------------------------------------------------------------
-- Names, arguments and answers of these four are those that agents since version 1.2.0 call.

CREATE OR REPLACE PROCEDURE PULL_TASKS(AGENT_ID VARCHAR, AGENT_TYPE VARCHAR, AFFINITY VARCHAR, MAX_TASKS NUMBER)
    RETURNS TABLE (ID VARCHAR, PAYLOAD VARIANT, ATTEMPT NUMBER)
    LANGUAGE SQL
    COMMENT = 'Leases tasks to an agent for five minutes'
    EXECUTE AS OWNER
AS
$$
DECLARE
    change_id VARCHAR DEFAULT UUID_STRING();
    candidate_id VARCHAR;
    claimed NUMBER DEFAULT 0;
    candidates RESULTSET;
    leased RESULTSET;
BEGIN
    -- Once a minute is enough to see that an agent lives, and most calls then write nothing.
    MERGE INTO AGENT_REGISTRY AS known
    USING (SELECT :AGENT_ID AS AGENT_ID, :AGENT_TYPE AS AGENT_TYPE, :AFFINITY AS AFFINITY) AS seen
    ON known.AGENT_ID = seen.AGENT_ID
    WHEN MATCHED AND known.LAST_SEEN_AT < DATEADD('second', -60, CURRENT_TIMESTAMP()) THEN UPDATE SET
        AGENT_TYPE = seen.AGENT_TYPE, AFFINITY = seen.AFFINITY, LAST_SEEN_AT = CURRENT_TIMESTAMP()
    WHEN NOT MATCHED THEN INSERT (AGENT_ID, AGENT_TYPE, AFFINITY, FIRST_SEEN_AT, LAST_SEEN_AT)
        VALUES (seen.AGENT_ID, seen.AGENT_TYPE, seen.AFFINITY, CURRENT_TIMESTAMP(), CURRENT_TIMESTAMP());

    -- Some more than wanted: other agents claim from the same end at the same time.
    candidates := (
        SELECT TASK_ID
        FROM TASK_QUEUE
        WHERE STATE = 'QUEUED'
            AND ELIGIBLE_AT <= CURRENT_TIMESTAMP()
            AND (AFFINITY IS NULL OR AFFINITY = :AFFINITY)
        QUALIFY ROW_NUMBER() OVER (ORDER BY PRIORITY DESC, ENQUEUED_AT, TASK_ID) <= :MAX_TASKS + 16
        ORDER BY PRIORITY DESC, ENQUEUED_AT, TASK_ID
    );
    FOR candidate IN candidates DO
        IF (claimed >= MAX_TASKS) THEN
            BREAK;
        END IF;
        candidate_id := candidate.TASK_ID;
        -- The claim: one row, and only when nobody else has claimed it meanwhile.
        UPDATE TASK_QUEUE SET
            STATE = 'LEASED',
            ATTEMPT = ATTEMPT + 1,
            LEASE_HOLDER = :AGENT_ID,
            LEASE_EXPIRES_AT = DATEADD('second', 300, CURRENT_TIMESTAMP()),
            CHANGE_ID = :change_id
        WHERE TASK_ID = :candidate_id AND STATE = 'QUEUED';
        IF (SQLROWCOUNT = 1) THEN
            claimed := claimed + 1;
        END IF;
    END FOR;
    IF (claimed > 0) THEN
        INSERT INTO QUEUE_EVENT (HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE)
        SELECT CURRENT_TIMESTAMP(), TASK_ID, ATTEMPT, :AGENT_ID, 'PULLED', STATE, NULL
        FROM TASK_QUEUE
        WHERE CHANGE_ID = :change_id;
    END IF;
    -- What this call has claimed, and nothing else.
    leased := (
        SELECT TASK_ID AS ID, PAYLOAD, ATTEMPT
        FROM TASK_QUEUE
        WHERE CHANGE_ID = :change_id AND STATE = 'LEASED'
        ORDER BY PRIORITY DESC, ENQUEUED_AT, TASK_ID
    );
    RETURN TABLE(leased);
END;
$$;

CREATE OR REPLACE PROCEDURE COMPLETE_TASK(AGENT_ID VARCHAR, TASK_ID VARCHAR, RECEIPT VARCHAR DEFAULT NULL)
    RETURNS BOOLEAN
    LANGUAGE SQL
    COMMENT = 'Records that the files of a task are there; repeating it is safe'
    EXECUTE AS OWNER
AS
$$
DECLARE
    change_id VARCHAR DEFAULT UUID_STRING();
    repeated NUMBER;
BEGIN
    UPDATE TASK_QUEUE SET
        STATE = 'COMPLETED',
        FINISHED_AT = CURRENT_TIMESTAMP(),
        FINISHED_BY = :AGENT_ID,
        RECEIPT = TRY_PARSE_JSON(:RECEIPT),
        LEASE_HOLDER = NULL,
        LEASE_EXPIRES_AT = NULL,
        CHANGE_ID = :change_id
    WHERE TASK_ID = :TASK_ID AND STATE = 'LEASED' AND LEASE_HOLDER = :AGENT_ID;
    IF (SQLROWCOUNT = 1) THEN
        INSERT INTO QUEUE_EVENT (HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE)
        SELECT CURRENT_TIMESTAMP(), TASK_ID, ATTEMPT, :AGENT_ID, 'COMPLETED', STATE, NULL
        FROM TASK_QUEUE
        WHERE CHANGE_ID = :change_id;
        RETURN TRUE;
    END IF;
    -- The answer to an earlier call may have been lost.
    SELECT COUNT(*) INTO :repeated
    FROM TASK_QUEUE
    WHERE TASK_ID = :TASK_ID AND STATE = 'COMPLETED' AND FINISHED_BY = :AGENT_ID;
    RETURN repeated = 1;
END;
$$;

CREATE OR REPLACE PROCEDURE FAIL_TASK(TASK_ID VARCHAR, AGENT_ID VARCHAR, MESSAGE VARCHAR)
    RETURNS BOOLEAN
    LANGUAGE SQL
    COMMENT = 'Records that an attempt failed; the task is tried again while attempts are left'
    EXECUTE AS OWNER
AS
$$
DECLARE
    change_id VARCHAR DEFAULT UUID_STRING();
BEGIN
    UPDATE TASK_QUEUE SET
        STATE = IFF(FAILURES + 1 >= MAX_ATTEMPTS, 'FAILED', 'QUEUED'),
        FINISHED_AT = IFF(FAILURES + 1 >= MAX_ATTEMPTS, CURRENT_TIMESTAMP(), NULL),
        FINISHED_BY = IFF(FAILURES + 1 >= MAX_ATTEMPTS, :AGENT_ID, NULL),
        -- 10 s, 20 s, 40 s ... 15 min.
        ELIGIBLE_AT = DATEADD('second', LEAST(900, 10 * POWER(2, FAILURES)), CURRENT_TIMESTAMP()),
        FAILURES = FAILURES + 1,
        INTERRUPTIONS = 0,
        LAST_ERROR = LEFT(:MESSAGE, 4000),
        LEASE_HOLDER = NULL,
        LEASE_EXPIRES_AT = NULL,
        CHANGE_ID = :change_id
    WHERE TASK_ID = :TASK_ID AND STATE = 'LEASED' AND LEASE_HOLDER = :AGENT_ID;
    IF (SQLROWCOUNT = 1) THEN
        INSERT INTO QUEUE_EVENT (HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE)
        SELECT CURRENT_TIMESTAMP(), TASK_ID, ATTEMPT, :AGENT_ID, 'FAILED', STATE, LAST_ERROR
        FROM TASK_QUEUE
        WHERE CHANGE_ID = :change_id;
        RETURN TRUE;
    END IF;
    RETURN FALSE;
END;
$$;

CREATE OR REPLACE PROCEDURE REFRESH_LEASES(AGENT_ID VARCHAR)
    RETURNS BOOLEAN
    LANGUAGE SQL
    COMMENT = 'Pushes back the end of every lease of an agent; EXTEND_LEASES is the better call'
    EXECUTE AS OWNER
AS
$$
BEGIN
    UPDATE TASK_QUEUE SET LEASE_EXPIRES_AT = DATEADD('second', 300, CURRENT_TIMESTAMP())
    WHERE STATE = 'LEASED' AND LEASE_HOLDER = :AGENT_ID;
    RETURN SQLROWCOUNT > 0;
END;
$$;

-- ---- Procedures that this agent uses where they are --------------------------------------------------------

CREATE OR REPLACE PROCEDURE EXTEND_LEASES(AGENT_ID VARCHAR, TASK_IDS VARCHAR)
    RETURNS TABLE (ID VARCHAR)
    LANGUAGE SQL
    COMMENT = 'Pushes back the end of the leases named in a JSON array, and answers those that are held'
    EXECUTE AS OWNER
AS
$$
DECLARE
    held RESULTSET;
BEGIN
    UPDATE TASK_QUEUE SET LEASE_EXPIRES_AT = DATEADD('second', 300, CURRENT_TIMESTAMP())
    WHERE STATE = 'LEASED' AND LEASE_HOLDER = :AGENT_ID
        AND ARRAY_CONTAINS(TASK_ID::VARIANT, PARSE_JSON(:TASK_IDS)::ARRAY);
    held := (
        SELECT TASK_ID AS ID
        FROM TASK_QUEUE
        WHERE STATE = 'LEASED' AND LEASE_HOLDER = :AGENT_ID
            AND ARRAY_CONTAINS(TASK_ID::VARIANT, PARSE_JSON(:TASK_IDS)::ARRAY)
    );
    RETURN TABLE(held);
END;
$$;

CREATE OR REPLACE PROCEDURE RELEASE_TASK(TASK_ID VARCHAR, AGENT_ID VARCHAR)
    RETURNS BOOLEAN
    LANGUAGE SQL
    COMMENT = 'Gives a task back, because the agent stops; does not count as a failure'
    EXECUTE AS OWNER
AS
$$
DECLARE
    change_id VARCHAR DEFAULT UUID_STRING();
BEGIN
    UPDATE TASK_QUEUE SET
        STATE = 'QUEUED',
        ELIGIBLE_AT = CURRENT_TIMESTAMP(),
        INTERRUPTIONS = 0,
        LEASE_HOLDER = NULL,
        LEASE_EXPIRES_AT = NULL,
        CHANGE_ID = :change_id
    WHERE TASK_ID = :TASK_ID AND STATE = 'LEASED' AND LEASE_HOLDER = :AGENT_ID;
    IF (SQLROWCOUNT = 1) THEN
        INSERT INTO QUEUE_EVENT (HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE)
        SELECT CURRENT_TIMESTAMP(), TASK_ID, ATTEMPT, :AGENT_ID, 'RELEASED', STATE, NULL
        FROM TASK_QUEUE
        WHERE CHANGE_ID = :change_id;
        RETURN TRUE;
    END IF;
    RETURN FALSE;
END;
$$;

CREATE OR REPLACE PROCEDURE REJECT_TASK(TASK_ID VARCHAR, AGENT_ID VARCHAR, MESSAGE VARCHAR)
    RETURNS BOOLEAN
    LANGUAGE SQL
    COMMENT = 'Fails a task for good: another attempt would fail in the same way'
    EXECUTE AS OWNER
AS
$$
DECLARE
    change_id VARCHAR DEFAULT UUID_STRING();
BEGIN
    UPDATE TASK_QUEUE SET
        STATE = 'FAILED',
        FINISHED_AT = CURRENT_TIMESTAMP(),
        FINISHED_BY = :AGENT_ID,
        FAILURES = FAILURES + 1,
        INTERRUPTIONS = 0,
        LAST_ERROR = LEFT(:MESSAGE, 4000),
        LEASE_HOLDER = NULL,
        LEASE_EXPIRES_AT = NULL,
        CHANGE_ID = :change_id
    WHERE TASK_ID = :TASK_ID AND STATE = 'LEASED' AND LEASE_HOLDER = :AGENT_ID;
    IF (SQLROWCOUNT = 1) THEN
        INSERT INTO QUEUE_EVENT (HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE)
        SELECT CURRENT_TIMESTAMP(), TASK_ID, ATTEMPT, :AGENT_ID, 'REJECTED', STATE, LAST_ERROR
        FROM TASK_QUEUE
        WHERE CHANGE_ID = :change_id;
        RETURN TRUE;
    END IF;
    RETURN FALSE;
END;
$$;

CREATE OR REPLACE PROCEDURE RECORD_HISTORY(AGENT_ID VARCHAR, HISTORY VARCHAR)
    RETURNS BOOLEAN
    LANGUAGE SQL
    COMMENT = 'Keeps what an agent tells of its attempts: runs, and lines of its log'
    EXECUTE AS OWNER
AS
$$
BEGIN
    -- Told twice, a run is there once: an agent repeats a call whose answer it did not get.
    MERGE INTO AGENT_RUN AS run USING (
        SELECT
            :AGENT_ID AS AGENT_ID,
            VALUE:task_source::VARCHAR AS TASK_SOURCE,
            VALUE:task::VARCHAR AS TASK_ID,
            VALUE:attempt::NUMBER AS ATTEMPT,
            VALUE:status::VARCHAR AS STATUS,
            VALUE:source::VARCHAR AS SOURCE,
            VALUE:destination::VARCHAR AS DESTINATION,
            VALUE:started_at::TIMESTAMP_LTZ AS STARTED_AT,
            VALUE:finished_at::TIMESTAMP_LTZ AS FINISHED_AT,
            VALUE:rows::NUMBER AS ROW_COUNT,
            VALUE:bytes::NUMBER AS BYTE_COUNT,
            VALUE:files::NUMBER AS FILE_COUNT,
            VALUE:error AS ERROR
        FROM TABLE(FLATTEN(INPUT => PARSE_JSON(:HISTORY):runs))
    ) AS told ON run.AGENT_ID = told.AGENT_ID AND run.TASK_SOURCE = told.TASK_SOURCE
        AND run.TASK_ID = told.TASK_ID AND run.ATTEMPT = told.ATTEMPT
    WHEN MATCHED THEN UPDATE SET
        STATUS = told.STATUS,
        FINISHED_AT = told.FINISHED_AT,
        ROW_COUNT = told.ROW_COUNT,
        BYTE_COUNT = told.BYTE_COUNT,
        FILE_COUNT = told.FILE_COUNT,
        ERROR = told.ERROR
    WHEN NOT MATCHED THEN INSERT (AGENT_ID, TASK_SOURCE, TASK_ID, ATTEMPT, STATUS, SOURCE, DESTINATION,
        STARTED_AT, FINISHED_AT, ROW_COUNT, BYTE_COUNT, FILE_COUNT, ERROR)
    VALUES (told.AGENT_ID, told.TASK_SOURCE, told.TASK_ID, told.ATTEMPT, told.STATUS, told.SOURCE,
        told.DESTINATION, told.STARTED_AT, told.FINISHED_AT, told.ROW_COUNT, told.BYTE_COUNT, told.FILE_COUNT,
        told.ERROR);
    -- So is a line: one that is there already, word for word and at the same moment, is not written again.
    INSERT INTO AGENT_LOG (AGENT_ID, TASK_SOURCE, TASK_ID, ATTEMPT, LOGGED_AT, LEVEL, TARGET, MESSAGE, FIELDS)
    SELECT told.AGENT_ID, told.TASK_SOURCE, told.TASK_ID, told.ATTEMPT, told.LOGGED_AT, told.LEVEL, told.TARGET,
        told.MESSAGE, told.FIELDS
    FROM (
        SELECT
            :AGENT_ID AS AGENT_ID,
            VALUE:task_source::VARCHAR AS TASK_SOURCE,
            VALUE:task::VARCHAR AS TASK_ID,
            VALUE:attempt::NUMBER AS ATTEMPT,
            VALUE:time::TIMESTAMP_LTZ AS LOGGED_AT,
            VALUE:level::VARCHAR AS LEVEL,
            VALUE:target::VARCHAR AS TARGET,
            LEFT(VALUE:message::VARCHAR, 5000) AS MESSAGE,
            VALUE:fields AS FIELDS
        FROM TABLE(FLATTEN(INPUT => PARSE_JSON(:HISTORY):lines))
    ) AS told
    LEFT JOIN AGENT_LOG AS written
        ON written.AGENT_ID = told.AGENT_ID
        AND written.TASK_SOURCE = told.TASK_SOURCE
        AND written.TASK_ID = told.TASK_ID
        AND written.ATTEMPT = told.ATTEMPT
        AND written.LOGGED_AT = told.LOGGED_AT
        AND written.MESSAGE = told.MESSAGE
    WHERE written.TASK_ID IS NULL;
    RETURN TRUE;
END;
$$;

-- ---- Procedures for people and the schedule ----------------------------------------------------------------

CREATE OR REPLACE PROCEDURE ENQUEUE_TASK(
        TASK_ID VARCHAR, PAYLOAD VARIANT, AFFINITY VARCHAR, PRIORITY NUMBER, MAX_ATTEMPTS NUMBER)
    RETURNS VARCHAR
    LANGUAGE SQL
    COMMENT = 'Puts a task into the queue and answers its id; a known id changes nothing'
    EXECUTE AS OWNER
AS
$$
DECLARE
    change_id VARCHAR DEFAULT UUID_STRING();
    wanted_id VARCHAR;
    wrong_id EXCEPTION (-20001, 'A task id has 1 to 128 characters of A-Z a-z 0-9 . _ - and does not begin with a dot.');
    no_payload EXCEPTION (-20002, 'A task needs a payload: a JSON object.');
BEGIN
    wanted_id := COALESCE(TASK_ID, UUID_STRING());
    IF (NOT RLIKE(wanted_id, '[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}')) THEN
        RAISE wrong_id;
    END IF;
    IF (PAYLOAD IS NULL) THEN
        RAISE no_payload;
    END IF;
    MERGE INTO TASK_QUEUE AS queue
    USING (
        SELECT
            :wanted_id AS TASK_ID,
            :PAYLOAD AS PAYLOAD,
            :AFFINITY AS AFFINITY,
            COALESCE(:PRIORITY, 0) AS PRIORITY,
            COALESCE(:MAX_ATTEMPTS, 3) AS MAX_ATTEMPTS
    ) AS new
    ON queue.TASK_ID = new.TASK_ID
    WHEN NOT MATCHED THEN INSERT (
        TASK_ID, PAYLOAD, AFFINITY, PRIORITY, STATE, ENQUEUED_AT, ELIGIBLE_AT, ATTEMPT, FAILURES,
        MAX_ATTEMPTS, INTERRUPTIONS, CHANGE_ID
    ) VALUES (
        new.TASK_ID, new.PAYLOAD, new.AFFINITY, new.PRIORITY, 'QUEUED', CURRENT_TIMESTAMP(), CURRENT_TIMESTAMP(), 0, 0,
        new.MAX_ATTEMPTS, 0, :change_id
    );
    INSERT INTO QUEUE_EVENT (HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE)
    SELECT CURRENT_TIMESTAMP(), TASK_ID, ATTEMPT, NULL, 'ENQUEUED', STATE, NULL
    FROM TASK_QUEUE
    WHERE CHANGE_ID = :change_id;
    RETURN wanted_id;
END;
$$;

CREATE OR REPLACE PROCEDURE RETRY_TASK(TASK_ID VARCHAR)
    RETURNS BOOLEAN
    LANGUAGE SQL
    COMMENT = 'Puts a failed task back into the queue, with fresh attempts'
    EXECUTE AS OWNER
AS
$$
DECLARE
    change_id VARCHAR DEFAULT UUID_STRING();
BEGIN
    UPDATE TASK_QUEUE SET
        STATE = 'QUEUED',
        ELIGIBLE_AT = CURRENT_TIMESTAMP(),
        FAILURES = 0,
        INTERRUPTIONS = 0,
        FINISHED_AT = NULL,
        FINISHED_BY = NULL,
        CHANGE_ID = :change_id
    WHERE TASK_ID = :TASK_ID AND STATE = 'FAILED';
    IF (SQLROWCOUNT = 1) THEN
        INSERT INTO QUEUE_EVENT (HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE)
        SELECT CURRENT_TIMESTAMP(), TASK_ID, ATTEMPT, NULL, 'RETRIED', STATE, NULL
        FROM TASK_QUEUE
        WHERE CHANGE_ID = :change_id;
        RETURN TRUE;
    END IF;
    RETURN FALSE;
END;
$$;

CREATE OR REPLACE PROCEDURE QUEUE_DEPTH(AFFINITY VARCHAR)
    RETURNS NUMBER
    LANGUAGE SQL
    COMMENT = 'Tasks that an agent of this affinity could take now'
    EXECUTE AS OWNER
AS
$$
DECLARE
    depth NUMBER DEFAULT 0;
BEGIN
    SELECT COUNT(*) INTO :depth
    FROM TASK_QUEUE
    WHERE STATE = 'QUEUED'
        AND ELIGIBLE_AT <= CURRENT_TIMESTAMP()
        AND (AFFINITY IS NULL OR AFFINITY = :AFFINITY);
    RETURN depth;
END;
$$;

CREATE OR REPLACE PROCEDURE EXPIRE_LEASES()
    RETURNS NUMBER
    LANGUAGE SQL
    COMMENT = 'Puts tasks back whose lease ran out; the fifth time in a row the task is failed'
    EXECUTE AS OWNER
AS
$$
DECLARE
    change_id VARCHAR DEFAULT UUID_STRING();
    expired NUMBER DEFAULT 0;
BEGIN
    UPDATE TASK_QUEUE SET
        STATE = IFF(INTERRUPTIONS + 1 >= 5, 'FAILED', 'QUEUED'),
        FINISHED_AT = IFF(INTERRUPTIONS + 1 >= 5, CURRENT_TIMESTAMP(), NULL),
        FINISHED_BY = NULL,
        LAST_ERROR = IFF(
            INTERRUPTIONS + 1 >= 5, 'the leases of five attempts in a row ran out: the task seems to end its agents', LAST_ERROR),
        ELIGIBLE_AT = CURRENT_TIMESTAMP(),
        INTERRUPTIONS = INTERRUPTIONS + 1,
        LEASE_HOLDER = NULL,
        LEASE_EXPIRES_AT = NULL,
        CHANGE_ID = :change_id
    WHERE STATE = 'LEASED' AND LEASE_EXPIRES_AT < CURRENT_TIMESTAMP();
    expired := SQLROWCOUNT;
    IF (expired > 0) THEN
        INSERT INTO QUEUE_EVENT (HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE)
        SELECT CURRENT_TIMESTAMP(), TASK_ID, ATTEMPT, NULL, 'EXPIRED', STATE, NULL
        FROM TASK_QUEUE
        WHERE CHANGE_ID = :change_id;
    END IF;
    RETURN expired;
END;
$$;

-- ---- Views for people ---------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW TASKS COMMENT = 'Every task and where it is in its life' AS
SELECT
    TASK_ID,
    STATE,
    PRIORITY,
    AFFINITY,
    ENQUEUED_AT,
    ATTEMPT,
    FAILURES,
    MAX_ATTEMPTS,
    IFF(STATE = 'QUEUED', ELIGIBLE_AT, NULL) AS NEXT_ATTEMPT_AT,
    LEASE_HOLDER,
    LEASE_EXPIRES_AT,
    FINISHED_AT,
    FINISHED_BY,
    LAST_ERROR,
    RECEIPT:rows::NUMBER AS ROW_COUNT,
    RECEIPT:bytes::NUMBER AS BYTE_COUNT,
    RECEIPT,
    PAYLOAD
FROM TASK_QUEUE;

CREATE OR REPLACE VIEW AGENTS COMMENT = 'Agents that have asked for tasks, and what they hold' AS
SELECT
    AGENT_REGISTRY.AGENT_ID,
    ANY_VALUE(AGENT_REGISTRY.AGENT_TYPE) AS AGENT_TYPE,
    ANY_VALUE(AGENT_REGISTRY.AFFINITY) AS AFFINITY,
    ANY_VALUE(AGENT_REGISTRY.FIRST_SEEN_AT) AS FIRST_SEEN_AT,
    ANY_VALUE(AGENT_REGISTRY.LAST_SEEN_AT) AS LAST_SEEN_AT,
    COUNT(TASK_QUEUE.TASK_ID) AS LEASED_TASKS
FROM AGENT_REGISTRY
LEFT JOIN TASK_QUEUE ON TASK_QUEUE.LEASE_HOLDER = AGENT_REGISTRY.AGENT_ID AND TASK_QUEUE.STATE = 'LEASED'
GROUP BY AGENT_REGISTRY.AGENT_ID;

CREATE OR REPLACE VIEW RUNS COMMENT = 'Every attempt: who made it, how long it took, how it ended' AS
SELECT
    begun.TASK_ID,
    begun.ATTEMPT,
    begun.AGENT_ID,
    begun.HAPPENED_AT AS STARTED_AT,
    ended.HAPPENED_AT AS ENDED_AT,
    DATEDIFF('millisecond', begun.HAPPENED_AT, ended.HAPPENED_AT) AS DURATION_MS,
    COALESCE(ended.EVENT, 'RUNNING') AS OUTCOME,
    ended.MESSAGE,
    told.SOURCE,
    told.DESTINATION,
    told.ROW_COUNT,
    told.BYTE_COUNT,
    told.FILE_COUNT,
    'snowflake_stored_procedure' AS TASK_SOURCE
FROM QUEUE_EVENT AS begun
LEFT JOIN QUEUE_EVENT AS ended
    ON ended.TASK_ID = begun.TASK_ID
    AND ended.ATTEMPT = begun.ATTEMPT
    AND ended.EVENT IN ('COMPLETED', 'FAILED', 'REJECTED', 'RELEASED', 'EXPIRED')
LEFT JOIN AGENT_RUN AS told
    ON told.TASK_SOURCE = 'snowflake_stored_procedure'
    AND told.TASK_ID = begun.TASK_ID
    AND told.ATTEMPT = begun.ATTEMPT
WHERE begun.EVENT = 'PULLED'
UNION ALL
SELECT TASK_ID, ATTEMPT, AGENT_ID, STARTED_AT, FINISHED_AT,
    DATEDIFF('millisecond', STARTED_AT, FINISHED_AT), UPPER(STATUS), ERROR:message::VARCHAR, SOURCE, DESTINATION,
    ROW_COUNT, BYTE_COUNT, FILE_COUNT, TASK_SOURCE
FROM AGENT_RUN
WHERE TASK_SOURCE <> 'snowflake_stored_procedure';

CREATE OR REPLACE VIEW LOGS COMMENT = 'What happened to tasks' AS
SELECT HAPPENED_AT, TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE, NULL::VARIANT AS FIELDS
FROM QUEUE_EVENT
UNION ALL
SELECT LOGGED_AT, TASK_ID, ATTEMPT, AGENT_ID, 'LOG', UPPER(LEVEL), MESSAGE, FIELDS
FROM AGENT_LOG;

CREATE OR REPLACE VIEW LOADS COMMENT = 'Which task was loaded into which table, and what that did' AS
SELECT
    TASK_ID,
    TARGET_TABLE,
    STATE,
    MODE,
    STAGE,
    FILES,
    ROWS_LOADED,
    ROWS_INSERTED,
    ROWS_UPDATED,
    ROWS_DELETED,
    OPENED_AT,
    LOADED_AT
FROM DATA_EXCHANGE_AGENT_LOADS;

-- ---- Who may do what ----------------------------------------------------------------------------------------

GRANT USAGE ON PROCEDURE PULL_TASKS(VARCHAR, VARCHAR, VARCHAR, NUMBER) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON PROCEDURE COMPLETE_TASK(VARCHAR, VARCHAR, VARCHAR) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON PROCEDURE FAIL_TASK(VARCHAR, VARCHAR, VARCHAR) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON PROCEDURE REFRESH_LEASES(VARCHAR) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON PROCEDURE EXTEND_LEASES(VARCHAR, VARCHAR) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON PROCEDURE RELEASE_TASK(VARCHAR, VARCHAR) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON PROCEDURE REJECT_TASK(VARCHAR, VARCHAR, VARCHAR) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON PROCEDURE QUEUE_DEPTH(VARCHAR) TO ROLE DATA_EXCHANGE_AGENT;
GRANT USAGE ON PROCEDURE RECORD_HISTORY(VARCHAR, VARCHAR) TO ROLE DATA_EXCHANGE_AGENT;
GRANT READ ON STAGE EXTRACTS TO ROLE DATA_EXCHANGE_AGENT;
GRANT WRITE ON STAGE EXTRACTS TO ROLE DATA_EXCHANGE_AGENT;
-- No DELETE: an agent cannot make a load happen again. Rights on the tables that are loaded are in loading.md.
GRANT SELECT, INSERT, UPDATE ON TABLE DATA_EXCHANGE_AGENT_LOADS TO ROLE DATA_EXCHANGE_AGENT;

GRANT USAGE ON PROCEDURE ENQUEUE_TASK(VARCHAR, VARIANT, VARCHAR, NUMBER, NUMBER) TO ROLE DATA_EXCHANGE_OPERATOR;
GRANT USAGE ON PROCEDURE RETRY_TASK(VARCHAR) TO ROLE DATA_EXCHANGE_OPERATOR;
GRANT USAGE ON PROCEDURE EXPIRE_LEASES() TO ROLE DATA_EXCHANGE_OPERATOR;

GRANT USAGE ON PROCEDURE QUEUE_DEPTH(VARCHAR) TO ROLE DATA_EXCHANGE_VIEWER;
GRANT SELECT ON VIEW TASKS TO ROLE DATA_EXCHANGE_VIEWER;
GRANT SELECT ON VIEW AGENTS TO ROLE DATA_EXCHANGE_VIEWER;
GRANT SELECT ON VIEW RUNS TO ROLE DATA_EXCHANGE_VIEWER;
GRANT SELECT ON VIEW LOGS TO ROLE DATA_EXCHANGE_VIEWER;
GRANT SELECT ON VIEW LOADS TO ROLE DATA_EXCHANGE_VIEWER;

USE ROLE IDENTIFIER($setup_role);
REVOKE ROLE DATA_EXCHANGE_OWNER FROM USER IDENTIFIER($setup_user);
