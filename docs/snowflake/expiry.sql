-- Ends leases every minute: without it, the tasks of an agent that died stay leased for ever.
-- Run it after setup.sql, with the same names. EXECUTE MANAGED TASK on the account is needed for a schedule
-- without a warehouse of its own; ACCOUNTADMIN can grant it.

SET queue_database = 'SNOWCONVERT_AI';
SET queue_schema = 'DATA_MIGRATION';
SET setup_role = CURRENT_ROLE();
SET setup_user = CURRENT_USER();

GRANT EXECUTE TASK ON ACCOUNT TO ROLE DATA_EXCHANGE_OWNER;
GRANT EXECUTE MANAGED TASK ON ACCOUNT TO ROLE DATA_EXCHANGE_OWNER;
GRANT ROLE DATA_EXCHANGE_OWNER TO USER IDENTIFIER($setup_user);
USE ROLE DATA_EXCHANGE_OWNER;
USE DATABASE IDENTIFIER($queue_database);
USE SCHEMA IDENTIFIER($queue_schema);

-- Never suspended by itself: a minute in which it fails must not stop the next ones.
CREATE OR REPLACE TASK EXPIRE_LEASES_EVERY_MINUTE
    SCHEDULE = '1 MINUTE'
    USER_TASK_MANAGED_INITIAL_WAREHOUSE_SIZE = 'XSMALL'
    ALLOW_OVERLAPPING_EXECUTION = FALSE
    SUSPEND_TASK_AFTER_NUM_FAILURES = 0
    COMMENT = 'Puts tasks of dead agents back into the queue'
AS
CALL EXPIRE_LEASES();

ALTER TASK EXPIRE_LEASES_EVERY_MINUTE RESUME;

USE ROLE IDENTIFIER($setup_role);
REVOKE ROLE DATA_EXCHANGE_OWNER FROM USER IDENTIFIER($setup_user);
