#!/usr/bin/env python3
"""Client CPU of `extract` from an SQL Server that is there, per million rows.

    python3 tests/bench/sqlserver.py --url 'sqlserver://user:password@host/database' --table dbo.lineitem

The table has to exist; that of `run.py` has 16 columns and is named lineitem. Every round reads it
whole, over one connection, into Parquet files that are thrown away.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile

PROGRAM = "target/release/data-exchange-agent"


def measure(program, url, table, slices):
    """Rows, seconds of CPU (user and system), seconds of the clock, and peak memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "extract", "--source", url, "--table", table, "--slices", str(slices)]
        process = subprocess.Popen(command + ["--to", f"file://{folder}"], stdout=subprocess.PIPE, text=True)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"extract has failed: {output}")
    found = re.search(r"files, ([\d,]+) rows, .* in ([\d.]+) s", output)
    rows = int(found.group(1).replace(",", ""))
    return rows, usage.ru_utime + usage.ru_stime, float(found.group(2)), usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("SQLSERVER_URL"), help="default: SQLSERVER_URL")
    parser.add_argument("--table", default="dbo.lineitem")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default=PROGRAM)
    arguments = parser.parse_args()
    if not arguments.url:
        parser.error("there is no --url, and SQLSERVER_URL is not set")
    rounds = [
        measure(arguments.program, arguments.url, arguments.table, arguments.slices)
        for _ in range(arguments.rounds)
    ]
    rows = rounds[0][0]
    cpu, clock, memory = (statistics.median(round[index] for round in rounds) for index in (1, 2, 3))
    print(f"rows                       {rows:,}")
    print(f"client CPU, million rows   {cpu / rows * 1e6:.2f} s")
    print(f"rows a second              {rows / clock:,.0f}")
    print(f"peak memory                {memory:.0f} MiB")


if __name__ == "__main__":
    main()
