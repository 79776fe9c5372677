"""Drives the agent over REST: one transfer to S3, the rate of durable posts, start-up and idle memory."""

import asyncio
import dataclasses
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import measure
import store as s3

START_LIMIT = 20.0


class Service:
    """The agent's server with a private configuration and an empty queue."""

    def __init__(self, program, database, store, folder, more="", top="", workers=4):
        self.folder = tempfile.mkdtemp(prefix="bench-agent-", dir=folder)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.configuration = os.path.join(self.folder, "configuration.toml")
        with open(os.open(self.configuration, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(top + self._settings(database, store, workers) + more)
        self.command = [program, "--config", self.configuration, "--port", str(self.port)]
        self.log = os.path.join(self.folder, "log")
        begun = time.monotonic()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env={**os.environ, "HOME": self.folder},
            )  # fmt: skip
        try:
            self._wait_until_live(begun)
        except BaseException:
            self.close()
            raise
        self.start_seconds = time.monotonic() - begun

    def _settings(self, database, store, workers):
        quoted = json.dumps  # TOML's basic strings take JSON's escapes
        lines = [
            "[application]",
            f"workers = {workers}",
            f"data_directory = {quoted(os.path.join(self.folder, 'data'))}",
            "[server]",
            'host = "127.0.0.1"',
            f"[connections.target.local]\nroot = {quoted(os.path.join(self.folder, 'files'))}",
        ]
        os.mkdir(os.path.join(self.folder, "files"))
        if database is not None:
            lines += [
                "[connections.source.postgresql]",
                f"host = {quoted(database.host)}\nport = {database.port}",
                f"database = {quoted(database.name)}\nusername = {quoted(database.user)}",
            ]
            if database.password:
                lines.append(f"password = {quoted(database.password)}")
        if store is not None:
            lines += [
                "[connections.target.s3]",
                f"bucket_name = {quoted(store.bucket)}\nregion_name = {quoted(s3.REGION)}",
                f"endpoint_url = {quoted(store.endpoint)}\npath_style = true",
                f"access_key_id = {quoted(s3.ACCESS_KEY)}\nsecret_access_key = {quoted(s3.SECRET_KEY)}",
            ]
        return "\n".join(lines) + "\n"

    def _wait_until_live(self, begun):
        while True:
            try:
                status, _ = self.request("GET", "/live")
                if status == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise measure.Failed(f"the agent ended with {self.process.returncode}: {self.last_log_line()}")
            if time.monotonic() - begun > START_LIMIT:
                raise measure.Failed(f"the agent was not live after {START_LIMIT:.0f} s: {self.last_log_line()}")
            time.sleep(0.001)

    def last_log_line(self):
        with open(self.log, errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
        return lines[-1][:300] if lines else "(no log)"

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def transfer(program, database, store, folder, table, destination, slices, more="", limit=3600):
    """One task from POST to completed; a fresh agent, so that its peak memory is this task's."""
    service = Service(program, database, store, folder, more=more)
    try:
        task = {
            "source_config": {"database": "postgresql", "table": table, "slices": slices},
            "destination_config": destination,
            "max_attempts": 1,
        }
        os.sync()
        pid = service.process.pid
        server = database.server_pid
        server_before = measure.processor_seconds(server, of_ended_children=True) if server else None
        before = measure.processor_seconds(pid)
        begun = time.monotonic()
        status, body = service.request("POST", "/tasks", task)
        if status != 202:
            raise measure.Failed(f"POST /tasks answered {status}: {body[:300].decode(errors='replace')}")
        identity = json.loads(body)["id_task"]
        state = {}
        while time.monotonic() - begun < limit:
            status, body = service.request("GET", f"/tasks/{identity}")
            state = json.loads(body)
            if status != 200 or _state(state) not in ("queued", "running"):
                break
            time.sleep(0.02)
        wall = time.monotonic() - begun
        if _state(state) != "completed":
            raise measure.Failed(f"the task ended as {_state(state)}: {json.dumps(state)[:400]}")
        figures = measure.Figures(wall, measure.processor_seconds(pid) - before, measure.high_water_mark(pid))
        if server:
            figures.server_cpu = measure.settled(server) - server_before
        commands = [
            shlex.join(service.command),
            f"curl -X POST http://127.0.0.1:{service.port}/tasks -H 'Content-Type: application/json'"
            f" -d {shlex.quote(json.dumps(task))}",
        ]
        return figures, "; ".join(commands)
    finally:
        service.close()


def _state(task):
    return str(task.get("state") or task.get("status") or "unknown").lower()


def start_and_idle(program, database, folder, rounds=5, settle=2.0):
    """Seconds from exec to the first 200 of GET /live, and resident memory after `settle` seconds."""
    starts, memories, command = [], [], ""
    for _ in range(rounds):
        service = Service(program, database, None, folder)
        try:
            starts.append(service.start_seconds)
            time.sleep(settle)
            memories.append(measure.memory(service.process.pid, "VmRSS"))
            command = shlex.join(service.command)
        finally:
            service.close()
    return sorted(starts)[rounds // 2], sorted(memories)[rounds // 2], command


@dataclasses.dataclass
class SubmitFigures:
    connections: int
    seconds: float
    accepted: int
    refused: int
    milliseconds: dict
    command: str
    still_queued: int | None


class _Poster(asyncio.Protocol):
    """Posts one task after the other over one connection that stays open."""

    def __init__(self, request, deadline, latencies, refusals):
        self._request, self._deadline = request, deadline
        self._latencies, self._refusals = latencies, refusals
        self._received = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self._transport = transport
        self._post()

    def _post(self):
        self._begun = time.monotonic()
        self._transport.write(self._request)

    def data_received(self, data):
        self._received += data
        end_of_head = self._received.find(b"\r\n\r\n")
        if end_of_head < 0:
            return
        head = self._received[:end_of_head]
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        if len(self._received) < end_of_head + 4 + length:
            return
        now = time.monotonic()
        if b" 202 " in head.split(b"\r\n", 1)[0]:
            self._latencies.append(now - self._begun)
        else:
            self._refusals.append(head.split(b"\r\n", 1)[0])
        self._received = b""
        if now < self._deadline:
            self._post()
        else:
            self._transport.close()

    def connection_lost(self, error):
        if not self.ended.done():
            self.ended.set_result(error)


def submit(program, database, folder, connections, seconds):
    """Posts single tasks over open connections while the workers are stopped; every 202 is durable."""
    service = Service(program, database, None, folder)
    try:
        status, body = service.request("POST", "/stop")
        if status >= 300:
            raise measure.Failed(f"POST /stop answered {status}: {body[:200].decode(errors='replace')}")
        task = json.dumps(
            {
                "source_config": {"database": "postgresql", "query": "SELECT 1"},
                "destination_config": {"type": "local", "path": "submitted"},
            }
        )
        request = (
            f"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(task)}\r\n\r\n{task}"
        ).encode()
        latencies, refusals = [], []
        begun = time.monotonic()

        async def post_all():
            loop = asyncio.get_running_loop()
            deadline = begun + seconds
            posters = []
            for _ in range(connections):
                _, poster = await loop.create_connection(
                    lambda: _Poster(request, deadline, latencies, refusals), "127.0.0.1", service.port
                )
                posters.append(poster)
            await asyncio.wait_for(asyncio.gather(*(poster.ended for poster in posters)), seconds + 60)

        asyncio.run(post_all())
        took = time.monotonic() - begun
        if not latencies:
            raise measure.Failed(f"no task was accepted: {refusals[:1]}")
        latencies.sort()
        at = {f"p{share}": latencies[min(len(latencies) - 1, len(latencies) * share // 100)] * 1000 for share in (50, 99)}
        at["max"] = latencies[-1] * 1000
        status, body = service.request("GET", "/get_tasks_count")
        count = next((v for v in json.loads(body).values() if isinstance(v, int)), None) if status == 200 else None
        return SubmitFigures(
            connections, took, len(latencies), len(refusals), at, shlex.join(service.command), count
        )
    finally:
        service.close()
