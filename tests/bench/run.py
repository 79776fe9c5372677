#!/usr/bin/env python3
"""The benchmark: what COPY can do, what this agent does, what others do, in one run.

    python3 tests/bench/run.py                             everything, `lineitem` with 6 million rows
    python3 tests/bench/run.py --modes lineitem --rows 1   one table, a million rows
    python3 tests/bench/run.py --modes memory              peak memory at 1, 6 and 20 million rows
    python3 tests/bench/run.py --install-tools             also build the other tools (minutes, once)

Rounds are interleaved (every tool once, then again), figures are medians, and `vs COPY` is the time of
one-connection COPY in the same round divided by the tool's. Prints Markdown; `--output` keeps it, with
all single measurements as JSON. Needs python3 with venv, PostgreSQL's server and psql, for the mode
`mysql` MariaDB's server, and the agent (`cargo build --release`). The modes `snowflake_*` and
`sqlserver` build the doubles that the tests have; those of Snowflake need the store, too.
"""

import argparse
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "data-exchange-agent")
# s3s-fs from 0.15 on needs a newer compiler than this project.
CARGO_TOOLS = ["s3s-fs@0.14.1 --features binary", "pg2parquet@0.2.2", "odbc2parquet@11.0.1"]
MODES = [
    "lineitem", "wide_text", "mysql", "odbc", "sqlserver", "s3", "snowflake_stage", "snowflake_queue", "memory", "submit", "watchers", "idle",
]


def enter_environment():
    """Continues in the benchmark's own virtual environment; makes it first."""
    environment = os.path.join(CACHE, "bench-venv")
    python = os.path.join(environment, "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(environment) or os.environ.get("BENCH_THIS_PYTHON"):
        return
    with open(os.path.join(HERE, "requirements.txt")) as file:
        wanted = file.read()
    stamp = os.path.join(environment, "requirements.installed")
    if not os.path.exists(stamp) or open(stamp).read() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        requirements = os.path.join(HERE, "requirements.txt")
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements], check=True
        )
        with open(stamp, "w") as file:
            file.write(wanted)
    os.execv(python, [python, *sys.argv])


def arguments():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(REPOSITORY, "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--rows", type=float, default=6.0, help="million rows of lineitem (default 6)")
    parser.add_argument("--wide-rows", type=int, default=500_000, help="rows of wide_text (default 500000)")
    parser.add_argument("--memory-rows", type=float, nargs="+", default=[1, 6, 20], help="million rows (default 1 6 20)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="GROUP",
                        help="copy agent connectorx adbc pg2parquet odbc2parquet sling")  # fmt: skip
    parser.add_argument("--dsn", help="a PostgreSQL to use in place of a private one; its tables are replaced")
    parser.add_argument("--agent", default=os.path.join(target, "release", "data-exchange-agent"))
    parser.add_argument("--tool-folder", default=os.path.join(CACHE, "bench-tools"))
    parser.add_argument("--install-tools", action="store_true")
    parser.add_argument("--work", default="/var/tmp", help="folder for data and output (default /var/tmp)")
    parser.add_argument("--output", help="folder for benchmark.md and benchmark.json")
    parser.add_argument("--double", help="the program with the doubles, built already; else cargo builds it")
    parser.add_argument("--sqlserver-rows", type=float, default=5.0, help="million rows of mode sqlserver (default 5)")
    parser.add_argument("--queue-tasks", type=int, default=200, help="of mode snowflake_queue (default 200)")
    parser.add_argument("--queue-workers", type=int, default=4, help="of mode snowflake_queue (default 4)")
    parser.add_argument("--connections", type=int, default=32, help="of mode submit (default 32)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of mode submit (default 10)")
    given = parser.parse_args()
    given.agent = os.path.abspath(given.agent)
    return given


def install_tools(folder):
    for specification in CARGO_TOOLS:
        name = specification.split("@")[0]
        if os.path.exists(os.path.join(folder, "bin", name)):
            continue
        print(f"cargo install {specification}", file=sys.stderr)
        command = ["cargo", "install", "--locked", "--root", folder, *specification.split()]
        environment = {**os.environ, "CARGO_TARGET_DIR": os.path.join(folder, "target")}
        if subprocess.run(command, env=environment).returncode != 0:
            print(f"{name} could not be built; odbc2parquet needs unixodbc-dev", file=sys.stderr)


def main():
    given = arguments()
    enter_environment()
    sys.path.insert(0, HERE)
    import signal

    import session

    if given.install_tools:
        install_tools(given.tool_folder)
    # So that servers and folders are removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(session.run(given))


if __name__ == "__main__":
    main()
