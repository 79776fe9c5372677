"""The tasks of a soak: what is asked for, what was accepted, and whether what came out is right."""

import dataclasses
import http.client
import os
import random
import shutil
import threading
import time
import urllib.parse

import duckdb

ROWS = 120_000
TABLE_SQL = f"""
    CREATE TABLE facts (
        id bigint PRIMARY KEY, name text, amount numeric(12,2), at timestamptz NOT NULL, ratio double precision,
        flag boolean, day date, note text NOT NULL);
    INSERT INTO facts
    SELECT n, CASE WHEN n % 7 <> 0 THEN 'name ' || n % 997 END, (n * 37 % 1000003)::numeric / 100,
           timestamptz '2020-01-01 00:00:00+00' + n * interval '61.000007 seconds', n / 3.0::double precision,
           n % 3 = 0, date '2000-01-01' + (n % 9000)::integer, repeat(md5(n::text), 1 + (n % 6)::integer)
    FROM generate_series(1, {ROWS}) AS n;
    ANALYZE facts;
"""
COLUMNS = {
    "id": "BIGINT", "name": "VARCHAR", "amount": "DECIMAL(12,2)", "at": "TIMESTAMPTZ", "ratio": "DOUBLE",
    "flag": "BOOLEAN", "day": "DATE", "note": "VARCHAR",
}  # fmt: skip
FINAL = ("completed", "failed", "cancelled")


@dataclasses.dataclass
class Task:
    """What was asked for, and what is known of it."""

    id: str
    first: int
    last: int
    kind: str
    format: str
    body: dict
    # None until an answer arrived: then it is either accepted or it is not there at all.
    accepted: bool | None = None
    cancel_sent: bool = False
    submitted_at: float = 0.0
    outcome: str | None = None
    attempts: int = 0
    # Kinds of errors of its attempts.
    errors: tuple = ()


class Ledger:
    """Every task that was submitted, and every wrong that was found. Shared by the threads of a soak."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tasks = {}
        self.open = {}
        self.wrongs = []

    def add(self, task):
        with self.lock:
            self.tasks[task.id] = task
            self.open[task.id] = task

    def end(self, task):
        with self.lock:
            self.open.pop(task.id, None)

    def open_tasks(self):
        with self.lock:
            return list(self.open.values())

    def wrong(self, text):
        with self.lock:
            self.wrongs.append(text)
        print(f"WRONG: {text}", flush=True)


class Submitter(threading.Thread):
    """Keeps `wanted` tasks open. A submission whose answer is lost is repeated until there is one."""

    def __init__(self, agent, ledger, seed, wanted, first=0):
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.refused = 0
        self._agent, self._ledger, self._wanted, self._first = agent, ledger, wanted, first
        self._random = random.Random(seed)

    def run(self):
        number = self._first
        while not self.stopping.is_set():
            if len(self._ledger.open_tasks()) >= self._wanted:
                time.sleep(0.1)
                continue
            number += 1
            task = self._make(number)
            self._ledger.add(task)
            self._submit(task)
            if self._random.random() < 0.05 and task.accepted:
                time.sleep(self._random.random())
                self._cancel(task)

    def _make(self, number):
        choose = self._random
        size = choose.choice([10, 500, 2_000, 8_000, 25_000, ROWS])
        first = choose.randint(1, ROWS - size + 1)
        last = first + size - 1
        kind = choose.choice(["local", "s3"])
        form = "csv" if choose.random() < 0.15 else "parquet"
        identity = f"soak-{number:06}"
        source = {"database": "facts", "slices": choose.choice([1, 1, 2, 3]), "slice_column": "id"}
        if size == ROWS:
            source["table"] = "facts"
            if choose.random() < 0.5:
                del source["slice_column"]
        else:
            source["query"] = f"SELECT * FROM facts WHERE id BETWEEN {first} AND {last}"
        body = {
            "id": identity,
            "source_config": source,
            "destination_config": {
                "type": kind, "path": identity, "format": form,
                "max_file_size": choose.choice([64 << 10, 1 << 20, 256 << 20]),
            },
            "max_attempts": choose.choice([2, 100, 100, 100]),
            "timeout": "5m",
        }  # fmt: skip
        return Task(identity, first, last, kind, form, body)

    def _submit(self, task):
        task.submitted_at = time.monotonic()
        while True:
            try:
                status, answer = self._agent.request("POST", "/tasks", task.body)
            except (OSError, http.client.HTTPException, ValueError):
                # Killed in the middle: the same id makes the repetition safe.
                time.sleep(0.2)
                continue
            if status in (200, 202):
                task.accepted = True
                return
            if status == 503:
                # The queue cannot store it (its disk is full) or the agent stops.
                self.refused += 1
                if self.stopping.is_set():
                    task.accepted = False
                    self._ledger.end(task)
                    return
                time.sleep(0.3)
                continue
            self._ledger.wrong(f"{task.id}: POST /tasks answered {status}: {answer}")
            task.accepted = False
            self._ledger.end(task)
            return

    def _cancel(self, task):
        task.cancel_sent = True
        try:
            status, answer = self._agent.request("DELETE", f"/tasks/{task.id}")
        except (OSError, http.client.HTTPException, ValueError):
            return
        if status not in (200, 202, 409, 503):
            self._ledger.wrong(f"{task.id}: DELETE answered {status}: {answer}")


class Judge(threading.Thread):
    """Looks at tasks until they have ended, compares their files with the database, and removes them."""

    def __init__(self, agent, store, ledger, output, reference, work):
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self._agent, self._store, self._ledger = agent, store, ledger
        self._output, self._work = output, os.path.join(work, "judge")
        os.mkdir(self._work)
        self._database = duckdb.connect()
        self._database.execute("SET threads = 1; SET TimeZone = 'UTC'")
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        self._database.execute(f"CREATE TABLE facts ({columns})")
        self._database.execute(f"COPY facts FROM '{reference}' (FORMAT csv, NULLSTR '\\N', HEADER false)")

    def run(self):
        while not self.stopping.is_set():
            self.look()
            time.sleep(0.3)

    def look(self):
        for task in self._ledger.open_tasks():
            if not task.accepted:
                continue
            try:
                status, view = self._agent.request("GET", f"/tasks/{task.id}")
            except (OSError, http.client.HTTPException, ValueError):
                return
            if status == 503:
                continue
            if status != 200:
                self._ledger.wrong(f"{task.id}: was accepted, and GET answers {status}")
                self._ledger.end(task)
            elif view["status"] in FINAL:
                try:
                    self._judge(task, view)
                except Exception as error:
                    self._ledger.wrong(f"{task.id}: its files cannot be judged: {error!r}")
                self._ledger.end(task)

    def _judge(self, task, view):
        task.outcome = view["status"]
        task.attempts = len(view["attempts"])
        task.errors = tuple(attempt["error"]["kind"] for attempt in view["attempts"] if attempt["error"])
        self._judge_attempts(task, view)
        files = self._visible(task)
        receipt = [file["location"] for file in (view["receipt"] or {"files": []})["files"]]
        if task.outcome != "completed":
            # What a store that failed all the while did not let the agent remove is in the report.
            told = any(attempt["error"] and attempt["error"].get("files_left") for attempt in view["attempts"])
            if files and not told:
                self._ledger.wrong(f"{task.id} is {task.outcome}, and has visible files: {files}")
            if task.outcome == "cancelled" and not task.cancel_sent:
                self._ledger.wrong(f"{task.id} is cancelled, and nobody asked for it")
        elif sorted(files) != sorted(receipt):
            self._ledger.wrong(f"{task.id}: receipt {receipt}, files {files}")
        else:
            self._compare(task, files, view["receipt"]["rows"])
        self._remove(task, files)

    def _judge_attempts(self, task, view):
        states = [attempt["status"] for attempt in view["attempts"]]
        numbers = [attempt["number"] for attempt in view["attempts"]]
        if numbers != list(range(1, len(numbers) + 1)):
            self._ledger.wrong(f"{task.id}: attempts are numbered {numbers}")
        completed = states.count("completed")
        if completed != (task.outcome == "completed") or "running" in states:
            self._ledger.wrong(f"{task.id} is {task.outcome} with the attempts {states}")
        if completed and states[-1] != "completed":
            self._ledger.wrong(f"{task.id}: something came after its completion: {states}")

    def _visible(self, task):
        if task.kind == "local":
            folder = os.path.join(self._output, task.id)
            names = os.listdir(folder) if os.path.isdir(folder) else []
            return [f"file://{folder}/{name}" for name in names if not name.startswith(".")]
        prefix = urllib.parse.quote(f"exports/{task.id}/", safe="")
        status, listing = self._store.request("GET", f"/{self._store.BUCKET}?list-type=2&prefix={prefix}")
        if status != 200:
            raise RuntimeError(f"the store answers {status} to a listing")
        keys = [part.split("</Key>")[0] for part in listing.decode().split("<Key>")[1:]]
        return [f"s3://{self._store.BUCKET}/{key}" for key in keys]

    def _compare(self, task, files, rows):
        wanted = task.last - task.first + 1
        if rows != wanted:
            self._ledger.wrong(f"{task.id}: its receipt has {rows} rows, the database {wanted}")
            return
        paths = [self._fetch(file) for file in files]
        names = "[" + ", ".join(f"'{path}'" for path in paths) + "]"
        if task.format == "parquet":
            found = f"read_parquet({names})"
        else:
            types = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
            found = f"read_csv({names}, header = true, columns = {{{types}}}, nullstr = '')"
        expected = f"SELECT * FROM facts WHERE id BETWEEN {task.first} AND {task.last}"
        columns = ", ".join(f'"{name}"::{kind} AS "{name}"' for name, kind in COLUMNS.items())
        sql = f"""
            WITH found AS MATERIALIZED (SELECT {columns} FROM {found}), expected AS MATERIALIZED ({expected})
            SELECT (SELECT count(*) FROM found),
                   (SELECT count(*) FROM (FROM found EXCEPT ALL FROM expected)),
                   (SELECT count(*) FROM (FROM expected EXCEPT ALL FROM found))"""
        count, more, fewer = self._database.execute(sql).fetchone()
        if (count, more, fewer) != (wanted, 0, 0):
            self._ledger.wrong(f"{task.id}: {count} rows for {wanted}; {more} are not in the database, {fewer} are missing")

    def _fetch(self, location):
        parts = urllib.parse.urlsplit(location)
        if parts.scheme == "file":
            return urllib.parse.unquote(parts.path)
        status, content = self._store.request("GET", f"/{parts.netloc}{parts.path}")
        if status != 200:
            raise RuntimeError(f"the store answers {status} to {location}")
        path = os.path.join(self._work, os.path.basename(parts.path))
        with open(path, "wb") as file:
            file.write(content)
        return path

    def _remove(self, task, files):
        if task.kind == "local":
            shutil.rmtree(os.path.join(self._output, task.id), ignore_errors=True)
        for location in files:
            parts = urllib.parse.urlsplit(location)
            if parts.scheme == "s3":
                self._store.request("DELETE", f"/{parts.netloc}{parts.path}")
        for name in os.listdir(self._work):
            os.remove(os.path.join(self._work, name))


class Watchers(threading.Thread):
    """Opens streams of events, reads a little and goes away: what is left behind would be a leak."""

    def __init__(self, agent, ledger, seed):
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.opened = 0
        self._agent, self._ledger = agent, ledger
        self._random = random.Random(seed)

    def run(self):
        while not self.stopping.wait(0.5):
            tasks = [task for task in self._ledger.open_tasks() if task.accepted]
            if not tasks:
                continue
            connection = http.client.HTTPConnection("127.0.0.1", self._agent.port, timeout=5)
            try:
                connection.request("GET", f"/tasks/{self._random.choice(tasks).id}/events")
                connection.getresponse().read(200)
                self.opened += 1
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
