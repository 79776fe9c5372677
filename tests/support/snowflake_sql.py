"""Reads the SQL and YAML of docs/snowflake, and carries the procedures out.

    snowflake_sql.py parse <folder>      every statement is parsed by sqlglot; every YAML block by PyYAML
    snowflake_sql.py states <folder>     the procedures of setup.sql do what the table of queue.md says
    snowflake_sql.py history <folder>    RECORD_HISTORY of setup.sql, and the views that show what it wrote

sqlglot keeps statements that it does not know as an opaque Command. COMMANDS lists the kinds of which
that is expected; any other is a mistake, as sqlglot also falls back when it stumbles.
"""

import json
import logging
import re
import sys
from pathlib import Path

import duckdb
import sqlglot
import yaml
from sqlglot import exp

logging.disable(logging.CRITICAL)

# Kinds of statements without a parser of their own in sqlglot.
COMMANDS = [
    r"CREATE ROLE", r"GRANT ROLE", r"REVOKE ROLE", r"GRANT OWNERSHIP",
    r"CREATE (OR REPLACE )?TASK", r"ALTER TASK", r"DROP TASK",
    r"CREATE IMAGE REPOSITORY", r"CREATE COMPUTE POOL", r"CREATE SECRET",
    r"CREATE NETWORK RULE", r"CREATE EXTERNAL ACCESS INTEGRATION",
    r"SHOW IMAGE REPOSITORIES", r"SHOW SERVICE CONTAINERS",
    r"GRANT [A-Z, ]+ ON (COMPUTE POOL|IMAGE REPOSITORY|SECRET)",
    r"CREATE SERVICE", r"ALTER SERVICE", r"DROP SERVICE", r"EXECUTE JOB SERVICE", r"CALL",
]
# Kinds that sqlglot refuses, and that are documented.
REFUSED = [r"DESCRIBE SERVICE"]
# Statements of Snowflake Scripting; all others in a procedure are parsed.
SCRIPTING = r"(DECLARE|BEGIN|END|IF|ELSE|FOR|LET|RETURN|RAISE|BREAK|\w+ :=|\w+ (VARCHAR|NUMBER|RESULTSET|EXCEPTION)\b)"


def without_comments(sql):
    return re.sub(r"--[^\n]*", "", sql)


def statements(sql):
    """Splits at semicolons that are in no quotes and in no $$ body; comments outside of these go."""
    parts = [""]
    for token in re.findall(r"--[^\n]*|\$\$.*?\$\$|'(?:[^']|'')*'|[^-$';]+|.", sql, re.S):
        if token == ";":
            parts.append("")
        elif not token.startswith("--"):
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


def parse(sql):
    """The kind of one statement; fails when it is opaque and should not be."""
    text = " ".join(sql.split())
    if any(re.match(kind + r"\b", text) for kind in REFUSED):
        return "refused"
    tree = sqlglot.parse_one(sql, dialect="snowflake")
    is_command = isinstance(tree, (exp.Command, exp.Alias, exp.Column))
    is_expected = any(re.match(kind + r"\b", text) for kind in COMMANDS)
    assert is_command == is_expected, f"{type(tree).__name__}, is a Command: {is_command}, expected: {is_expected}: {text[:200]}"
    return type(tree).__name__


def body_of(sql):
    found = re.search(r"AS\s*\$\$(.*)\$\$\s*$", sql, re.S)
    return found and found.group(1)


def queries_of(body):
    """The statements of a procedure that are SQL, and how many lines of scripting there are."""
    queries = []
    for part in statements(without_comments(body)):
        # What stands in front of a statement in the same part: BEGIN, FOR ... DO, IF ... THEN.
        part = re.sub(r"^(\s*(DECLARE|BEGIN|ELSE|IF \(.*?\) THEN|FOR \w+ IN \w+ DO|END IF|END FOR)\b\s*)+", "", part, flags=re.S)
        assigned = re.match(r"\w+ := \(\s*(SELECT.*)\)$", part, re.S)
        if assigned:
            part = assigned.group(1)
        part = re.sub(r"\bINTO :\w+", "", part, count=1) if part.startswith("SELECT") else part
        if part and not re.match(SCRIPTING, part):
            queries.append(part)
    return queries


def parse_all(folder):
    counts = {}
    for file in sorted(folder.glob("*.sql")):
        for sql in statements(file.read_text()):
            kind = parse(sql)
            counts[kind] = counts.get(kind, 0) + 1
            body = body_of(sql)
            if body and "PROCEDURE" in sql:
                queries = queries_of(body)
                assert queries, sql[:100]
                for query in queries:
                    tree = sqlglot.parse_one(query, dialect="snowflake")
                    expected = {"UPDATE": exp.Update, "INSERT": exp.Insert, "MERGE": exp.Merge, "SELECT": exp.Select}
                    assert type(tree) is expected[query.split()[0]], query
                    counts["in procedures"] = counts.get("in procedures", 0) + 1
    for file in sorted(folder.glob("*.md")):
        for language, block in re.findall(r"^ *```(\w+)\n(.*?)^ *```", file.read_text(), re.S | re.M):
            if language == "sql":
                if re.match(r"\s*BEGIN\b", block):
                    continue
                for sql in statements(block):
                    parse(sql)
                    for specification in re.findall(r"SPECIFICATION \$\$(.*?)\$\$", sql, re.S):
                        check_specification(yaml.safe_load(specification))
                    counts["in pages"] = counts.get("in pages", 0) + 1
            elif language == "yaml":
                document = yaml.safe_load(block)
                if "spec" in document:
                    check_specification(document)
                counts["yaml"] = counts.get("yaml", 0) + 1
    return counts


def check_specification(document):
    """The names that Snowflake's reference of service specifications has."""
    assert set(document) <= {"spec", "capabilities", "serviceRoles"}, document.keys()
    spec = document["spec"]
    assert set(spec) <= {"containers", "endpoints", "volumes", "logExporters", "platformMonitor"}, spec.keys()
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for volume in volumes.values():
        assert volume["source"] in {"local", "stage", "memory", "block"}, volume
        assert (volume["source"] == "stage") == ("stageConfig" in volume), volume
        assert (volume["source"] == "block") <= ("size" in volume), volume
    for container in spec["containers"]:
        known = {"name", "image", "command", "args", "env", "readinessProbe", "livenessProbe", "volumeMounts", "resources", "secrets"}
        assert set(container) <= known, set(container) - known
        assert re.fullmatch(r"[a-z0-9-]{1,63}", container["name"])
        for mount in container["volumeMounts"]:
            assert mount["name"] in volumes and mount["mountPath"].startswith("/"), mount
        for probe in ("readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe] == {"port": 5001, "path": {"readinessProbe": "/ready", "livenessProbe": "/live"}[probe]}
        for secret in container["secrets"]:
            assert secret["secretKeyRef"] in {"username", "password", "secret_string"} and "envVarName" in secret
        assert set(container["resources"]) == {"requests", "limits"}
        for value in container.get("env", {}).values():
            assert isinstance(value, str), value


# ---- The procedures, carried out by DuckDB -----------------------------------------------------------


class Returned(Exception):
    def __init__(self, value):
        self.value = value


MACROS = [
    "moment_after(seconds, moment) AS moment + to_seconds(CAST(seconds AS BIGINT))",
    "iff(condition, yes, no) AS CASE WHEN condition THEN yes ELSE no END",
    "parse_json(value) AS CAST(value AS JSON)",
    "try_parse_json(value) AS TRY_CAST(value AS JSON)",
    "is_in_array(element, items) AS list_contains(from_json(items, '[\"VARCHAR\"]'), element)",
]


class Session:
    """A database with the tables of setup.sql, and an interpreter for what its procedures use."""

    def __init__(self, folder):
        self.database = duckdb.connect()
        for macro in MACROS:
            self.database.execute(f"CREATE MACRO {macro}")
        self.now = 1_800_000_000
        self.procedures = {}
        for sql in statements((folder / "setup.sql").read_text()):
            if re.match(r"CREATE TABLE", sql):
                columns = re.sub(r" COMMENT '[^']*'", "", sql).replace("TIMESTAMP_LTZ", "TIMESTAMP")
                columns = re.sub(r"\) COMMENT = '[^']*'$", ")", columns)
                columns = re.sub(r"NUMBER\(\d+,\s*\d+\)", "BIGINT", columns)
                columns = re.sub(r",\s*CONSTRAINT \w+ PRIMARY KEY \(\w+\)", "", columns)
                self.database.execute(columns.replace("VARIANT", "JSON"))
            elif re.match(r"CREATE OR REPLACE PROCEDURE", sql):
                name = re.match(r"CREATE OR REPLACE PROCEDURE\s+(\w+)\s*\(", sql)[1]
                signature = re.match(r".*?PROCEDURE\s+\w+\s*\((.*?)\)\s*RETURNS", sql, re.S)[1]
                arguments = [argument.split()[0] for argument in signature.split(",") if argument.strip()]
                self.procedures[name] = (arguments, body_of(sql))

    def run(self, sql, variables):
        """One SQL statement with its bound variables; answers rows and the number of changed rows."""
        used = []

        def bind(found):
            used.append(found[1])
            return f"CAST($v{len(used)} AS {self.type_of(variables[found[1]], found[1])})"

        sql = re.sub(r"(?<![:\w]):(\w+)", lambda found: f":{found[1]}", sql)
        sql = re.sub(r"'(?:[^']|'')*'|(?<![:\w]):([A-Za-z_]\w*)\b(?!:)", lambda found: bind(found) if found[1] else found[0], sql)
        # What DuckDB spells otherwise; the functions are macros of this session.
        sql = sql.replace("TASK_ID::VARIANT", "TASK_ID").replace("::ARRAY", "").replace("ARRAY_CONTAINS", "is_in_array")
        sql = sql.replace("DATEADD('second', ", "moment_after(")
        sql = sql.replace("CURRENT_TIMESTAMP()", f"make_timestamp({self.now}000000)")
        cursor = self.database.execute(sql, {f"v{place}": variables[name] for place, name in enumerate(used, 1)})
        rows = cursor.fetchall()
        changed = rows[0][0] if re.match(r"(UPDATE|INSERT|MERGE)", sql) and rows else None
        return rows, changed

    @staticmethod
    def type_of(value, name):
        return "JSON" if name == "PAYLOAD" else "BIGINT" if isinstance(value, int) else "VARCHAR"

    def call(self, name, *values):
        names, body = self.procedures[name]
        values = list(values) + [None] * (len(names) - len(values))
        variables = dict(zip(names, values))
        self.counter = getattr(self, "counter", 0) + 1
        variables["__uuid"] = f"change-{self.counter}"
        declared, code = re.match(r"\s*(?:DECLARE(.*?))?\bBEGIN\b(.*)END;?\s*$", without_comments(body), re.S).groups()
        for line in statements(declared or ""):
            found = re.match(r"(\w+) (\w+)(?: DEFAULT (.*))?$", line)
            if found and found[2] != "EXCEPTION":
                variables[found[1]] = self.value(found[3], variables) if found[3] else None
        try:
            self.block(self.tree(code), variables)
        except Returned as returned:
            return returned.value
        return None

    def tree(self, code):
        """Statements, with the blocks of IF and FOR nested."""
        tokens = re.split(r"(\bIF \((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\) THEN\b|\bEND IF;|\bFOR \w+ IN \w+ DO\b|\bEND FOR;)", code)
        stack = [[]]
        for token in tokens:
            if re.match(r"IF ", token):
                stack.append([])
                stack[-2].append(("if", re.match(r"IF \((.*)\) THEN", token, re.S)[1], stack[-1]))
            elif re.match(r"FOR ", token):
                row, rows = re.match(r"FOR (\w+) IN (\w+) DO", token).groups()
                stack.append([])
                stack[-2].append(("for", row, rows, stack[-1]))
            elif token in ("END IF;", "END FOR;"):
                stack.pop()
            else:
                stack[-1].extend(("do", statement) for statement in statements(token))
        return stack[0]

    def block(self, steps, variables):
        for step in steps:
            if step[0] == "if":
                if self.value(step[1], variables):
                    if self.block(step[2], variables) == "break":
                        return "break"
            elif step[0] == "for":
                for row in variables[step[2]]:
                    variables[step[1]] = row
                    if self.block(step[3], variables) == "break":
                        break
            elif step[1] == "BREAK":
                return "break"
            else:
                self.do(step[1], variables)
        return None

    def do(self, statement, variables):
        if re.match(r"(UPDATE|INSERT|MERGE)\b", statement):
            _, variables["SQLROWCOUNT"] = self.run(statement, variables)
        elif found := re.match(r"SELECT COUNT\(\*\) INTO :(\w+)(.*)", statement, re.S):
            rows, _ = self.run("SELECT COUNT(*) " + found[2], variables)
            variables[found[1]] = rows[0][0]
        elif found := re.match(r"(\w+) := \(\s*(SELECT.*)\)$", statement, re.S):
            variables[found[1]], _ = self.run(found[2], variables)
        elif found := re.match(r"(\w+) := (.*)", statement, re.S):
            variables[found[1]] = self.value(found[2], variables)
        elif found := re.match(r"RETURN TABLE\((\w+)\)", statement):
            raise Returned(variables[found[1]])
        elif found := re.match(r"RETURN (.*)", statement, re.S):
            raise Returned(self.value(found[1], variables))
        elif re.match(r"RAISE \w+", statement):
            raise Returned("raised")
        else:
            raise AssertionError(f"no such statement: {statement}")

    @staticmethod
    def value(text, variables):
        """An expression of the scripting language, as far as the procedures use it."""
        text = text.strip().replace("UUID_STRING()", "__uuid").replace("TRUE", "True").replace("FALSE", "False")
        text = re.sub(r"(?<![<>=!])=(?!=)", "==", text)
        text = re.sub(r"\bNOT\b", "not", text).replace("IS NULL", "is None")
        text = re.sub(r"(\w+)\.TASK_ID", r"\1[0]", text)
        functions = {
            "COALESCE": lambda *values: next((value for value in values if value is not None), None),
            "RLIKE": lambda value, pattern: re.fullmatch(pattern, value) is not None,
        }
        return eval(text, functions, variables)  # noqa: S307 -- our own files

    def state(self, task="t"):
        rows = self.database.execute("SELECT STATE FROM TASK_QUEUE WHERE TASK_ID = ?", [task]).fetchall()
        return rows[0][0] if rows else "none"

    def set(self, assignment):
        self.database.execute(f"UPDATE TASK_QUEUE SET {assignment}")


def session_in(folder, state):
    session = Session(folder)
    if state != "none":
        assert session.call("ENQUEUE_TASK", "t", "{}", None, 0, 3) == "t"
    if state in ("LEASED", "COMPLETED", "FAILED"):
        assert len(session.call("PULL_TASKS", "holder", "data-exchange-agent", "blue", 1)) == 1
    if state == "COMPLETED":
        assert session.call("COMPLETE_TASK", "holder", "t", '{"rows": 3}') is True
    if state == "FAILED":
        assert session.call("REJECT_TASK", "t", "holder", "why") is True
    assert session.state() == state, (session.state(), state)
    return session


def arrange(session, when):
    """Makes the condition of a row true; answers which agent calls."""
    if when == "of another affinity":
        session.set("AFFINITY = 'green'")
    elif when == "eligible, of this affinity or none":
        session.set("AFFINITY = 'blue'")
    elif when == "in its back-off":
        session.set(f"ELIGIBLE_AT = make_timestamp({session.now + 60}000000)")
    elif when == "by the holder, the last attempt":
        session.set("FAILURES = MAX_ATTEMPTS - 1")
    elif when == "its lease is over":
        session.set("INTERRUPTIONS = 3")
        session.now += 301
    elif when == "its lease is over for the fifth time in a row":
        session.set("INTERRUPTIONS = 4")
        session.now += 301
    elif when == "its lease is not over":
        session.now += 299
    else:
        assert when in ("always", "by the holder", "by the holder, attempts left", "by who completed it", "by another agent"), when
    return "other" if when == "by another agent" else "holder"


ARGUMENTS = {
    "ENQUEUE_TASK": lambda agent: ["t", "{}", None, 0, 3],
    "PULL_TASKS": lambda agent: [agent, "data-exchange-agent", "blue", 1],
    "REFRESH_LEASES": lambda agent: [agent],
    "EXTEND_LEASES": lambda agent: [agent, json.dumps(["t"])],
    "COMPLETE_TASK": lambda agent: [agent, "t"],
    "FAIL_TASK": lambda agent: ["t", agent, "why"],
    "REJECT_TASK": lambda agent: ["t", agent, "why"],
    "RELEASE_TASK": lambda agent: ["t", agent],
    "QUEUE_DEPTH": lambda agent: ["blue"],
    "EXPIRE_LEASES": lambda agent: [],
    "RETRY_TASK": lambda agent: ["t"],
}


def carry_out(folder):
    page = (folder / "queue.md").read_text()
    table = page.split("| State | Call | When | State afterwards | Answer |")[1]
    seen = set()
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            break
        states, call, when, afterwards, answer = [cell.strip() for cell in line.strip("|").split("|")]
        call = call.strip("`")
        for state in states.split(", "):
            session = session_in(folder, state)
            agent = arrange(session, when)
            found = session.call(call, *ARGUMENTS[call](agent))
            if call in ("PULL_TASKS", "EXTEND_LEASES"):
                found = found[0][0] if found else None
            expected = {"true": True, "false": False, "the id": "t", "the task": "t", "nothing": None}.get(answer, answer)
            found = str(found) if expected == answer else found
            assert found == expected, f"{state} {line}: {found!r}"
            now = session.state()
            assert now == (state if afterwards == "the same" else afterwards), f"{state} {line}: {now}"
            seen.add((state, call))
    assert len(seen) == 5 * len(ARGUMENTS), len(seen)
    events(folder)
    return {"states and calls": len(seen)}


def events(folder):
    """What is written beside the state: history, back-off, wrong ids, order."""
    session = session_in(folder, "QUEUED")
    session.call("PULL_TASKS", "a", "data-exchange-agent", None, 1)
    session.call("FAIL_TASK", "t", "a", "x" * 5000)
    assert session.call("PULL_TASKS", "a", "data-exchange-agent", None, 1) == []
    session.now += 10
    assert session.call("PULL_TASKS", "a", "data-exchange-agent", None, 1)[0][2] == 2
    session.call("COMPLETE_TASK", "a", "t", '{"rows": 3}')
    rows = session.database.execute("SELECT EVENT, ATTEMPT, STATE, LENGTH(MESSAGE) FROM QUEUE_EVENT").fetchall()
    assert rows == [
        ("ENQUEUED", 0, "QUEUED", None), ("PULLED", 1, "LEASED", None), ("FAILED", 1, "QUEUED", 4000),
        ("PULLED", 2, "LEASED", None), ("COMPLETED", 2, "COMPLETED", None),
    ], rows
    receipt = session.database.execute("SELECT RECEIPT->>'rows' FROM TASK_QUEUE").fetchall()
    assert receipt == [("3",)], receipt
    assert session.database.execute("SELECT COUNT(*) FROM AGENT_REGISTRY").fetchall() == [(1,)]
    for wrong in ["", ".x", "a/b", "a b", "x" * 129]:
        assert session.call("ENQUEUE_TASK", wrong, "{}", None, 0, 3) == "raised", wrong
    for place, (task, priority) in enumerate([("low", 0), ("high", 5), ("later", 0)]):
        session.now += place
        session.call("ENQUEUE_TASK", task, "{}", None, priority, 3)
    pulled = session.call("PULL_TASKS", "a", "data-exchange-agent", None, 2)
    assert [row[0] for row in pulled] == ["high", "low"], pulled


# ---- RECORD_HISTORY, carried out by fakesnow --------------------------------------------------------------


def run_of(task, attempt, status, source="snowflake_stored_procedure", **more):
    """A run, as agents tell it: every field is there, and null while it is not known."""
    unknown = {"finished_at": None, "rows": None, "bytes": None, "files": None, "error": None}
    return {"task_source": source, "task": task, "attempt": attempt, "status": status, "source": "sales",
            "destination": "lake", "started_at": "2026-11-20T08:30:14.731001Z"} | unknown | more


def line_of(task, message, source="snowflake_stored_procedure", **more):
    return {"task_source": source, "task": task, "attempt": 1, "time": "2026-11-20T08:30:14.731001Z",
            "level": "INFO", "target": "worker::runner", "message": message, "fields": {}} | more


def history(folder):
    """The statements run one after the other; fakesnow has no Snowflake Scripting, and nothing else is in the body."""
    import warnings

    import fakesnow
    import snowflake.connector

    warnings.simplefilter("ignore")
    sql = statements((folder / "setup.sql").read_text())
    body = next(body_of(text) for text in sql if re.match(r"CREATE OR REPLACE PROCEDURE RECORD_HISTORY\b", text))
    queries = queries_of(body)
    rest = [part for part in statements(without_comments(body)) if not any(query in part for query in queries)]
    assert rest == ["RETURN TRUE", "END"] and len(queries) == 2, (rest, queries)
    with fakesnow.patch():
        cursor = snowflake.connector.connect(database="QUEUE", schema="PUBLIC").cursor()
        ask = lambda text: cursor.execute(text).fetchall()
        for text in sql:
            if re.match(r"CREATE TABLE|CREATE OR REPLACE VIEW (RUNS|LOGS)\b", text):
                ask(text)

        def record(agent, runs=(), lines=()):
            told = json.dumps({"runs": list(runs), "lines": list(lines)})
            literals = {"AGENT_ID": agent, "HISTORY": told}
            for query in queries:
                query = re.sub(r"(?<!:):(AGENT_ID|HISTORY)\b", lambda found: "'" + literals[found[1]].replace("'", "''") + "'", query)
                # fakesnow loses a FLATTEN inside of a MERGE; of a table it makes none.
                found = re.search(r"USING \((.*)\n    \) AS told ON", query, re.S)
                if query.startswith("MERGE"):
                    ask(f"CREATE OR REPLACE TEMPORARY TABLE TOLD AS {found[1]}")
                    query = query.replace(found[0], "USING TOLD ON")
                ask(query)

        for event, attempt, second in [("PULLED", 1, 14), ("FAILED", 1, 15), ("PULLED", 2, 20)]:
            ask(f"INSERT INTO QUEUE_EVENT (TASK_ID, ATTEMPT, AGENT_ID, EVENT, STATE, MESSAGE, HAPPENED_AT) VALUES "
                f"('t', {attempt}, 'a', '{event}', 'LEASED', NULL, '2026-11-20 08:30:{second}'::TIMESTAMP_LTZ)")

        # A run that begins, and the batch in which it ends; each arrives twice.
        begins = [run_of("t", 1, "running"), run_of("own", 1, "running", source="local")]
        error = {"kind": "data", "message": "it's 'wrong'", "hint": None}
        ends = [run_of("t", 1, "failed", finished_at="2026-11-20T08:30:16Z", rows=0, bytes=0, files=0, error=error),
                run_of("own", 1, "completed", source="local", finished_at="2026-11-20T08:30:16.231001Z", rows=10**12, bytes=7, files=2)]
        lines = [line_of("t", "attempt begins"), line_of("t", "a" * 6000, level="warn", fields={"rows": 3, "why": "it's so"}),
                 # Two that are equal in one batch are two.
                 line_of("own", "again", source="local"), line_of("own", "again", source="local")]
        for _ in range(2):
            record("a", begins, lines[:1])
        for _ in range(2):
            record("a", ends, lines)
        # Another agent, and nothing at all.
        record("b", [run_of("own", 1, "running", source="local")], [line_of("own", "again", source="local")])
        record("b")

        runs = ask("SELECT TASK_ID, ATTEMPT, AGENT_ID, OUTCOME, ROW_COUNT, FILE_COUNT, SOURCE, DESTINATION, TASK_SOURCE, DURATION_MS, MESSAGE "
                   "FROM RUNS ORDER BY TASK_SOURCE, TASK_ID, ATTEMPT, AGENT_ID")
        assert [tuple(row) for row in runs] == [
            ("own", 1, "a", "COMPLETED", 10**12, 2, "sales", "lake", "local", 1500, None),
            ("own", 1, "b", "RUNNING", None, None, "sales", "lake", "local", None, None),
            ("t", 1, "a", "FAILED", 0, 0, "sales", "lake", "snowflake_stored_procedure", 1000, None),
            ("t", 2, "a", "RUNNING", None, None, None, None, "snowflake_stored_procedure", None, None),
        ], runs
        kept = ask("SELECT STATUS, ERROR:kind::VARCHAR, ERROR:message::VARCHAR FROM AGENT_RUN WHERE TASK_ID = 't'")
        assert kept == [("failed", "data", "it's 'wrong'")], kept
        shown = ask("SELECT TASK_ID, AGENT_ID, STATE, LENGTH(MESSAGE), FIELDS:why::VARCHAR FROM LOGS WHERE EVENT = 'LOG' ORDER BY 1, 2, 4")
        assert shown == [
            ("own", "a", "INFO", 5, None), ("own", "a", "INFO", 5, None), ("own", "b", "INFO", 5, None),
            ("t", "a", "INFO", 14, None), ("t", "a", "WARN", 5000, "it's so"),
        ], shown
        assert ask("SELECT COUNT(*) FROM LOGS WHERE EVENT <> 'LOG'") == [(3,)]
        moment = ask("SELECT DISTINCT LOGGED_AT = '2026-11-20 08:30:14.731001'::TIMESTAMP_LTZ FROM AGENT_LOG")
        assert moment == [(True,)], moment
    return {"runs": len(runs), "lines": len(shown)}


if __name__ == "__main__":
    command, folder = sys.argv[1], Path(sys.argv[2])
    print(json.dumps({"parse": parse_all, "states": carry_out, "history": history}[command](folder)))
