"""Doubles of the tests, compiled as a program (`tests/bench/doubles.rs`) that runs as a process of its own."""

import json
import os
import shlex
import subprocess

import measure

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def build():
    """Compiles the doubles with the settings of a release, and returns where the program is."""
    command = ["cargo", "build", "--release", "--bench", "doubles", "--message-format=json"]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise measure.Failed(f"{shlex.join(command)} failed")
    for line in reversed(done.stdout.splitlines()):
        message = json.loads(line)
        if message.get("target", {}).get("name") == "doubles" and message.get("executable"):
            return message["executable"]
    raise measure.Failed("cargo did not say where the doubles are")


class Double:
    """Runs until `close`, or until it is left."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        beginning, line = "listening on ", self.process.stdout.readline().strip()
        if not line.startswith(beginning):
            self.close()
            raise measure.Failed(f"the double did not start: {line}")
        self.host, _, self.port = line[len(beginning) :].rpartition(":")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


class SqlServer(Double):
    """A database for the tools: `lineitem` of `rows` rows, `times` times."""

    def __init__(self, program, server, table, folder, times):
        path = os.path.join(folder, "rows")
        dates = {name: f"{name} - date '0001-01-01'" for name in ("l_shipdate", "l_commitdate", "l_receiptdate")}
        columns = server.psql(
            "SELECT column_name FROM information_schema.columns"
            f" WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
        ).splitlines()
        with open(path, "w") as file:
            file.write(server.psql(
                f"COPY (SELECT {', '.join(dates.get(name, name) for name in columns)} FROM {table}) TO STDOUT"
            ))  # fmt: skip
        super().__init__(program, "sqlserver", path, str(times))
        # The login of the double, as tests/support/tds has it.
        self.dsn = f"sqlserver://reader:pass%2Fw%3B%C3%B6%27rd@{self.host}:{self.port}/tests?encrypt=false"
        self.server_pid = self.process.pid
