"""What hundreds of clients that watch cost a task that runs: the same task, in turns alone and with streams
of events open beside it."""

import json
import os
import shlex
import statistics
import subprocess
import sys
import time

import measure
import service

IDLE, SLOW = 500, 50
STREAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "event_streams.py")


class Streams:
    """500 streams of a task that waits, and 50 of one that runs, whose clients take a byte now and then."""

    def __init__(self, port, idle, slow):
        arguments = ["127.0.0.1", str(port), idle, str(IDLE), slow, str(SLOW)]
        self._process = subprocess.Popen(
            [sys.executable, STREAMS, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._process.stdout.readline().strip() != "ready":
            self._process.kill()
            raise measure.Failed("the streams could not be opened")

    def close(self):
        self._process.kill()
        self._process.wait()


def post(agent, identity, table, priority):
    task = {
        "id": identity,
        "source_config": {"database": "postgresql", "table": table, "slices": 1},
        "destination_config": {"type": "local", "path": identity},
        "max_attempts": 1,
        "priority": priority,
    }
    status, body = agent.request("POST", "/tasks", task)
    if status != 202:
        raise measure.Failed(f"POST /tasks answered {status}: {body[:300].decode(errors='replace')}")
    return task


def one(program, database, folder, table, with_streams):
    """Seconds of the task by its own receipt, processor seconds and peak memory of the agent."""
    agent = service.Service(program, database, None, folder, workers=1)
    streams = None
    try:
        agent.request("POST", "/stop")
        task = post(agent, "measured", table, 1)
        # It waits behind the other one, and is what the idle clients watch.
        post(agent, "waits", table, 0)
        if with_streams:
            streams = Streams(agent.port, "waits", "measured")
        pid = agent.process.pid
        before = measure.processor_seconds(pid)
        agent.request("POST", "/handle_tasks")
        state = {}
        begun = time.monotonic()
        while time.monotonic() - begun < 3600:
            _, body = agent.request("GET", "/tasks/measured")
            state = json.loads(body)
            if state["status"] not in ("queued", "running"):
                break
            time.sleep(0.1)
        if state.get("status") != "completed":
            raise measure.Failed(f"the task ended as {state.get('status')}: {json.dumps(state)[:400]}")
        cpu = measure.processor_seconds(pid) - before
        command = shlex.join(agent.command) + f"; POST /tasks {json.dumps(task)}"
        return state["receipt"]["duration_ms"] / 1000, cpu, measure.high_water_mark(pid), command
    finally:
        if streams:
            streams.close()
        agent.close()


def compare(program, database, folder, table, rounds):
    """Rows for the report: alone, with the streams, and what they cost in each round."""
    rows = [
        {"name": "alone", "group": "agent", "runs": []},
        {"name": f"with {IDLE} idle and {SLOW} slow streams", "group": "agent", "runs": []},
    ]
    for number in range(rounds):
        # Whoever goes first has colder caches: they take turns.
        order = rows if number % 2 == 0 else rows[::-1]
        for row in order:
            wall, cpu, peak, row["command"] = one(program, database, folder, table, row is rows[1])
            row["runs"].append({"wall": wall, "cpu": cpu, "peak_rss": peak})
    ratios = [slow["wall"] / alone["wall"] for alone, slow in zip(rows[0]["runs"], rows[1]["runs"])]
    rows[1]["slower"] = statistics.median(ratios) - 1
    return rows
