"""What is measured: each tool is a name and the commands that it runs."""

import dataclasses
import os
import shlex
import shutil
import sys
from collections.abc import Callable

from database import program

CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients")


@dataclasses.dataclass
class Tool:
    """A row of the table. `command(job)` is one whole process; `missing` says why there is none."""

    name: str
    group: str
    command: Callable
    writes: bool = True
    missing: str | None = None
    environment: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Job:
    """What one run does."""

    database: object
    table: str
    pages: int
    column: str
    folder: str


def shown(command):
    """A command as a person would type it."""
    return command[2] if command[:2] == ["sh", "-c"] else shlex.join(command)


def _shell(commands):
    """Runs commands side by side; fails when one of them fails."""
    started = "".join(f"{command} & pids=\"$pids $!\"; " for command in commands)
    return ["sh", "-c", f"pids=; {started}for pid in $pids; do wait $pid || exit 1; done"]


def copy(connections):
    """The limit: binary COPY to /dev/null, whole or by ranges of pages."""

    def command(job):
        psql = program("psql")
        if connections == 1:
            return [psql, "-X", "-q", "-c", f"COPY {job.table} TO STDOUT (FORMAT binary)", job.database.dsn]
        parts = []
        for part in range(connections):
            low = job.pages * part // connections
            bounds = f"ctid >= '({low},0)'::tid"
            if part + 1 < connections:
                bounds += f" AND ctid < '({job.pages * (part + 1) // connections},0)'::tid"
            query = f"COPY (SELECT * FROM {job.table} WHERE {bounds}) TO STDOUT (FORMAT binary)"
            parts.append(shlex.join([psql, "-X", "-q", "-c", query, job.database.dsn]))
        return _shell(parts)

    plural = "" if connections == 1 else "s, by ctid"
    return Tool(f"limit: COPY binary, {connections} connection{plural}", "copy", command, writes=False)


def agent(path, slices):
    def command(job):
        return [
            path, "extract", "--source", job.database.dsn, "--table", job.table,
            "--to", f"file://{job.folder}", "--slices", str(slices), "--json",
        ]  # fmt: skip

    missing = None if os.access(path, os.X_OK) else f"{path} is not there; run `cargo build --release`"
    plural = "" if slices == 1 else "s"
    return Tool(f"this agent, {slices} slice{plural}", "agent", command, missing=missing)


def connectorx(partitions, s3=None):
    def command(job):
        script = os.path.join(CLIENTS, "with_connectorx.py")
        target = f"s3://{s3.bucket}/{os.path.basename(job.folder)}/out.parquet" if s3 else f"{job.folder}/out.parquet"
        return [sys.executable, script, job.database.dsn, job.table, target, str(partitions), job.column]

    name = "ConnectorX arrow stream + pyarrow" if partitions == 1 else f"ConnectorX, {partitions} partitions + pyarrow"
    return _python(name, "connectorx", command, s3)


def adbc(s3=None):
    def command(job):
        script = os.path.join(CLIENTS, "with_adbc.py")
        target = f"s3://{s3.bucket}/{os.path.basename(job.folder)}/out.parquet" if s3 else f"{job.folder}/out.parquet"
        return [sys.executable, script, job.database.dsn, job.table, target]

    return _python("ADBC + pyarrow, streaming", "adbc", command, s3)


def _python(name, group, command, s3):
    if s3 is None:
        return Tool(name, group, command)
    return Tool(f"{name}, to S3", group, command, missing=s3.missing, environment=s3.environment)


def pg2parquet(found, password):
    def command(job):
        database = job.database
        return [
            found, "export", "--quiet", "-H", database.host, "-p", str(database.port), "-U", database.user,
            "-d", database.name, "-t", job.table, "-o", f"{job.folder}/out.parquet",
            "--compression", "zstd", "--compression-level", "1",
            "--numeric-handling", "decimal", "--decimal-precision", "15", "--decimal-scale", "2",
        ]  # fmt: skip

    missing = None if found else "not installed (--install-tools)"
    # Without a password it asks for one, even where the server does not.
    environment = {"PGPASSWORD": password or "unused"}
    return Tool("pg2parquet", "pg2parquet", command, missing=missing, environment=environment)


def _psqlodbc(database):
    """One connection string for everybody who goes through PostgreSQL's driver."""
    return (
        f"Driver={{PostgreSQL Unicode}};Server={database.host};Port={database.port};Database={database.name};"
        f"Uid={database.user};Pwd={database.password};UseDeclareFetch=1;Fetch=20000;"
    )


def agent_through_odbc(path, text):
    """The agent through the same driver; `text` is how texts leave it."""

    def command(job):
        configuration = os.path.join(os.path.dirname(job.folder), f"odbc-{text}.toml")
        with open(configuration, "w") as file:
            file.write(
                f"[application]\ndata_directory = {os.path.dirname(job.folder)!r}\n"
                f"[connections.source.bench]\nkind = 'odbc'\ntext = '{text}'\n"
                f"connection_string = '{_psqlodbc(job.database)}'\n"
            )
        return [
            path, "extract", "--config", configuration, "--source", "bench", "--table", job.table,
            "--to", f"file://{job.folder}", "--slices", "1", "--json",
        ]  # fmt: skip

    missing = None if os.access(path, os.X_OK) else f"{path} is not there; run `cargo build --release --features odbc`"
    return Tool(f"this agent through ODBC, text as {text}", "agent", command, missing=missing)


def odbc2parquet(found):
    def command(job):
        return [
            found, "--quiet", "query", "--connection-string", _psqlodbc(job.database),
            "--column-compression-default", "zstd", "--column-compression-level-default", "1",
            # Its buffers take the longest possible value of every row: without these, gigabytes.
            "--batch-size-row", "20000", "--column-length-limit", "256",
            f"{job.folder}/out.par", f"SELECT * FROM {job.table}",
        ]  # fmt: skip

    missing = None if found else "not installed (--install-tools; needs unixodbc-dev and odbc-postgresql)"
    return Tool("odbc2parquet (declare/fetch)", "odbc2parquet", command, missing=missing)


def find(name, tool_folder):
    """A program that was installed into the benchmark's folder, or is on the path."""
    own = os.path.join(tool_folder, "bin", name)
    return own if os.access(own, os.X_OK) else shutil.which(name)
