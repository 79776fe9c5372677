"""One run of the benchmark: prepares, measures round by round, and reports."""

import dataclasses
import datetime
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

import database as databases
import doubles
import measure
import mysql
import report
import service
import snowflake
import store as stores
import tools
import verify
import watchers as watching


# Rows that the double of SQL Server holds; it sends them as often as it takes.
REPLAYED_ROWS = 100_000


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(given):
    """The exit status: 1 when a figure of the agent could not be measured or its output differs."""
    work = tempfile.mkdtemp(prefix="bench-", dir=given.work)
    if os.access(given.agent, os.X_OK):
        # Building the doubles makes the program anew, without the features that this one may have.
        given.agent = shutil.copy(given.agent, work)
    server = databases.Database(given.dsn) if given.dsn else databases.PrivateServer(given.work)
    store = stores.Store(tools.find("s3s-fs", given.tool_folder), work)
    result = {"machine": describe(given, server), "sections": []}
    try:
        for mode in given.modes:
            try:
                section = MODES[mode](given, server, store, work)
            except measure.Failed as failure:
                section = {"title": mode, "failure": str(failure), "rows": []}
            result["sections"].append(section)
    finally:
        store.close()
        server.close()
        shutil.rmtree(work, ignore_errors=True)
    text = server.without_password(report.document(result))
    print(text)
    if given.output:
        report.save(given.output, text, server.without_password(report.as_json(result)))
    return 0 if report.is_good(result) else 1


def describe(given, server):
    def first_line(command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
            return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else None
        except OSError:
            return None

    processor = None
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    return {
        "command": shlex.join(["python3", "tests/bench/run.py", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "postgresql": server.version(),
        "private_server": server.server_pid is not None,
        "agent": first_line([given.agent, "--version"]),
        "load_before": round(os.getloadavg()[0], 2),
    }


# ---- Tables to files ------------------------------------------------------------------------------


def local_tools(given, server):
    every = [
        tools.copy(1),
        tools.copy(2),
        tools.agent(given.agent, 1),
        tools.agent(given.agent, 2),
        tools.connectorx(1),
        tools.connectorx(2),
        tools.adbc(),
        tools.pg2parquet(tools.find("pg2parquet", given.tool_folder), server.password),
        tools.odbc2parquet(tools.find("odbc2parquet", given.tool_folder)),
    ]
    return chosen(every, given)


def chosen(every, given):
    # COPY always: it is what the others are compared with.
    return [tool for tool in every if not given.only or tool.group in given.only or tool is every[0]]


def lineitem(given, server, store, work):
    rows = round(given.rows * 1e6)
    facts = load(server, "lineitem", rows, databases.lineitem_sql)
    return rounds(given, server, work, facts, "l_orderkey", local_tools(given, server))


def wide_text(given, server, store, work):
    facts = load(server, "wide_text", given.wide_rows, databases.wide_text_sql)
    return rounds(given, server, work, facts, "id", local_tools(given, server))


def lineitem_mysql(given, server, store, work):
    """The same rows out of MariaDB; `vs COPY` compares with its own client."""
    facts = load(server, "lineitem", round(given.rows * 1e6), databases.lineitem_sql)
    mariadb = mysql.PrivateServer(given.work)
    try:
        say("copying lineitem to MariaDB")
        mariadb.take_lineitem(server)
        every = [
            mysql.limit(),
            tools.agent(given.agent, 1),
            tools.agent(given.agent, 2),
            tools.connectorx(1),
            tools.connectorx(2),
            mysql.odbc2parquet(tools.find("odbc2parquet", given.tool_folder)),
            mysql.sling(),
        ]
        section = rounds(given, server, work, facts, "l_orderkey", chosen(every, given), database=mariadb)
        section["title"] = f"`lineitem` in MariaDB {mariadb.version()}, {facts['rows']:,} rows"
        return section
    finally:
        mariadb.close()


def lineitem_odbc(given, server, store, work):
    """PostgreSQL's ODBC driver for all of them; the agent has to be built with the feature `odbc`."""
    facts = load(server, "lineitem", round(given.rows * 1e6), databases.lineitem_sql)
    every = [
        tools.copy(1),
        tools.agent_through_odbc(given.agent, "utf16"),
        tools.agent_through_odbc(given.agent, "utf8"),
        tools.odbc2parquet(tools.find("odbc2parquet", given.tool_folder)),
    ]
    section = rounds(given, server, work, facts, "l_orderkey", chosen(every, given))
    section["title"] += ", through psqlODBC"
    return section


def lineitem_sqlserver(given, server, store, work):
    """Rows that the double of SQL Server holds ready, again and again: what the agent itself needs for them."""
    agent_or_failure(given)
    facts = load(server, "lineitem_replayed", REPLAYED_ROWS, databases.lineitem_sql)
    times = max(1, round(given.sqlserver_rows * 1e6 / REPLAYED_ROWS))
    with doubles.SqlServer(given.double or doubles.build(), server, facts["table"], work, times) as double:
        facts["rows"] *= times
        section = rounds(
            given, server, work, facts, "l_orderkey", [tools.agent(given.agent, 1)], database=double, times=times
        )
    section["title"] = f"`lineitem` out of the double of SQL Server, {facts['rows']:,} rows"
    return section


def s3(given, server, store, work):
    """Upload included. The store runs on the same cores."""
    facts = load(server, "lineitem", round(given.rows * 1e6), databases.lineitem_sql)
    every = [
        tools.copy(1),
        service_tool(given, store, 1),
        service_tool(given, store, 2),
        tools.connectorx(1, store),
        tools.adbc(store),
    ]
    section = rounds(given, server, work, facts, "l_orderkey", chosen(every, given), store)
    section["title"] += ", to an S3-compatible store"
    if not store.missing:
        section["notes"] = [f"store: `{shlex.join(store.command)}`"]
    return section


def load(server, table, rows, make_sql):
    say(f"loading {table}, {rows:,} rows")
    return server.load(table, rows, make_sql)


def service_tool(given, store, slices):
    """A row whose run is a task of the running agent, not a process."""
    missing = store.missing
    if not os.access(given.agent, os.X_OK):
        missing = f"{given.agent} is not there; run `cargo build --release`"
    plural = "" if slices == 1 else "s"
    tool = tools.Tool(f"this agent, POST /tasks, {slices} slice{plural}, to S3", "agent", None, missing=missing)
    tool.transfer = lambda job: service.transfer(
        given.agent, job.database, store, given.work, job.table,
        {"type": "s3", "path": os.path.basename(job.folder)}, slices
    )  # fmt: skip
    return tool


def rounds(given, server, work, facts, column, row_tools, store=None, database=None, times=1):
    database = database or server
    expected = verify.Expected(server, facts["table"], times)
    rows = [report.Row(tool.name, tool.group, facts["rows"], failure=tool.missing) for tool in row_tools]
    for number in range(given.rounds):
        limit = None
        for tool, row in zip(row_tools, rows):
            if row.failure:
                continue
            folder = tempfile.mkdtemp(prefix=f"{tool.group}-", dir=work)
            to_store = store is not None and tool.writes
            written_to = store.folder(os.path.basename(folder)) if to_store else folder
            job = tools.Job(database, facts["table"], facts["pages"], column, folder)
            try:
                figures = one_run(tool, row, job, database, os.path.join(work, "messages"))
                if tool.writes:
                    figures.rows, figures.output_bytes = verify.written(written_to)
                    if row.check in (None, "equal"):
                        # Sums once, rows in every round.
                        wrong = f"differs: {figures.rows} rows, not {expected.rows}"
                        full = expected.compare(written_to) if row.check is None else "equal"
                        row.check = full if figures.rows == expected.rows else wrong
                if tool.group == "copy" and limit is None:
                    limit = figures.wall
                row.runs.append(figures)
                if limit:
                    row.ratios.append(limit / figures.wall)
                say(f"round {number + 1}: {tool.name}: {figures.wall:.2f} s, {figures.peak_rss / 1e6:.0f} MB")
            except measure.Failed as failure:
                row.failure = str(failure)
                say(f"round {number + 1}: {tool.name}: {failure}")
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(written_to, ignore_errors=True)
    title = f"`{facts['table']}`, {facts['rows']:,} rows, {facts['heap_mb']:,} MB heap"
    return {"title": title, "kind": "transfers", "rows": [dataclasses.asdict(row) for row in rows]}


def one_run(tool, row, job, server, log):
    if tool.command is None:
        figures, row.command = tool.transfer(job)
        return figures
    command = tool.command(job)
    row.command = tools.shown(command)
    return measure.run(command, environment=tool.environment, server_pid=server.server_pid, log=log)


# ---- The agent alone ------------------------------------------------------------------------------


def memory(given, server, store, work):
    """Peak memory with default settings, by number of rows."""
    section = {"title": "Peak memory of `extract` by number of rows", "kind": "memory", "rows": []}
    for millions in given.memory_rows:
        count = round(millions * 1e6)
        facts = load(server, f"lineitem_{count}", count, databases.lineitem_sql)
        expected_rows = count
        for slices in (1, 2):
            tool = tools.agent(given.agent, slices)
            entry = {"rows": count, "slices": slices, "failure": tool.missing, "runs": []}
            section["rows"].append(entry)
            for _ in range(given.rounds):
                if entry["failure"]:
                    break
                folder = tempfile.mkdtemp(prefix="memory-", dir=work)
                try:
                    job = tools.Job(server, facts["table"], facts["pages"], "l_orderkey", folder)
                    command = tool.command(job)
                    entry["command"] = shlex.join(command)
                    figures = measure.run(command, server_pid=server.server_pid, log=os.path.join(work, "messages"))
                    figures.rows, figures.output_bytes = verify.written(folder)
                    if figures.rows != expected_rows:
                        raise measure.Failed(f"{figures.rows} rows, not {expected_rows}")
                    entry["runs"].append(dataclasses.asdict(figures))
                except measure.Failed as failure:
                    entry["failure"] = str(failure)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
            if entry["runs"]:
                entry["peak_rss"] = statistics.median(run["peak_rss"] for run in entry["runs"])
                entry["wall"] = statistics.median(run["wall"] for run in entry["runs"])
        server.psql(f"DROP TABLE {facts['table']}")
    return section


def agent_or_failure(given):
    if not os.access(given.agent, os.X_OK):
        raise measure.Failed(f"{given.agent} is not there; run `cargo build --release`")


def submit(given, server, store, work):
    """Durable posts a second."""
    agent_or_failure(given)
    figures = [
        service.submit(given.agent, server, given.work, given.connections, given.seconds) for _ in range(given.rounds)
    ]
    return {
        "title": f"`POST /tasks`, one task each, {given.connections} connections, workers stopped",
        "kind": "submit",
        "rows": [dataclasses.asdict(one) for one in figures],
        "per_second": statistics.median(one.accepted / one.seconds for one in figures),
    }


def watchers(given, server, store, work):
    """What clients that watch cost a task that runs."""
    agent_or_failure(given)
    facts = load(server, "lineitem", round(given.rows * 1e6), databases.lineitem_sql)
    return {
        "title": f"`lineitem`, {facts['rows']:,} rows, to local files, while clients watch",
        "kind": "watchers",
        "rows": watching.compare(given.agent, server, given.work, facts["table"], given.rounds),
    }


def idle(given, server, store, work):
    agent_or_failure(given)
    start, resident, command = service.start_and_idle(given.agent, server, given.work)
    return {
        "title": "Start and idle",
        "kind": "idle",
        "rows": [{"start_ms": start * 1000, "rss": resident, "command": command}],
    }


# ---- Snowflake ------------------------------------------------------------------------------------


class WithDouble:
    """The double on the store, for the length of a mode."""

    def __init__(self, given, store):
        agent_or_failure(given)
        if store.missing:
            raise measure.Failed(store.missing)
        self._program = given.double or doubles.build()
        self._store = store

    def __enter__(self):
        self._double = snowflake.Double(self._program, self._store)
        return self._double

    def __exit__(self, *_):
        self._double.close()


def snowflake_stage(given, server, store, work):
    """Encryption and upload included. The store and the double run on the same cores."""
    facts = load(server, "lineitem", round(given.rows * 1e6), databases.lineitem_sql)
    with WithDouble(given, store) as double:

        def stage_tool(slices):
            plural = "" if slices == 1 else "s"
            tool = tools.Tool(f"this agent, POST /tasks, {slices} slice{plural}, to an encrypted stage", "agent", None)
            tool.transfer = lambda job: snowflake.transfer(
                given.agent, job.database, double, given.work, job, slices
            )
            return tool

        every = [tools.copy(1), stage_tool(1), stage_tool(2)]
        section = rounds(given, server, work, facts, "l_orderkey", chosen(every, given))
    section["title"] += ", to an encrypted stage on an S3-compatible store"
    section["notes"] = [f"store: `{shlex.join(store.command)}`; files are checked as their readers decrypt them"]
    return section


def snowflake_queue(given, server, store, work):
    """Small tasks, so that what a task costs besides its rows is seen."""
    facts = load(server, "thousand", 1000, databases.lineitem_sql)
    runs = []
    for number in range(given.rounds):
        # A fresh one each time: it remembers every request.
        with WithDouble(given, store) as double:
            run = snowflake.queue(
                given.agent, server, double, given.work, facts["table"], given.queue_tasks, given.queue_workers
            )
        say(f"round {number + 1}: {run['tasks']} tasks in {run['span']:.2f} s")
        runs.append(run)
    title = (
        f"{given.queue_tasks} tasks of {facts['rows']:,} rows from the queue of stored procedures to an encrypted"
        f" stage, {given.queue_workers} workers"
    )
    return {"title": title, "kind": "queue", "rows": runs}


MODES = {
    "lineitem": lineitem,
    "wide_text": wide_text,
    "mysql": lineitem_mysql,
    "odbc": lineitem_odbc,
    "sqlserver": lineitem_sqlserver,
    "s3": s3,
    "snowflake_stage": snowflake_stage,
    "snowflake_queue": snowflake_queue,
    "memory": memory,
    "submit": submit,
    "watchers": watchers,
    "idle": idle,
}
