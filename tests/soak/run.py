#!/usr/bin/env python3
"""A soak: the agent under load while everything around it fails, in an order given by a seed.

    tests/run.sh --soak 5                       what CI runs
    python tests/soak/run.py --minutes 60       an hour, with the Python that tests/run.sh has made
    python tests/soak/run.py --seed 7           the same faults again

Real PostgreSQL, moto's S3 server, the real program. Faults: kill -9, a stop in good order, the database
restarted, the store fails, the network is slow or cut, the disks of the output and of the queue are full
(small tmpfs; needs the right to mount, without which the soak fails when REQUIRE_SERVERS is set). Then the
faults end, the queue empties, and everything is looked at: each accepted task has one outcome, the files of
completed tasks equal the database row by row, the others have no files, memory is flat, and descriptors and
sessions of the database are given back.

The exit code is 0 when all of that is so, 1 when it is not, 2 when the soak could not run.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import faults as injected
import proxies
import servers
import work

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
# Workers, and tasks that wait or run.
WORKERS, OPEN_TASKS = 4, 12
# Growth of the resident memory between two idle moments of one process that counts as flat: allocators keep
# pages, and thread pools fill up once.
FLAT_BYTES = 48 << 20
# Descriptors that pools may hold more at the end: idle connections to the store.
FLAT_DESCRIPTORS = 16
# The last phase is a part of the whole: faults without restarts, in one process, for what leaks slowly. It
# begins with a load that fills pools and caches, before the first look at what is flat.
ONE_LIFE_SHARE = 0.35
WARM_UP_SHARE = 0.10


def arguments():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(REPOSITORY, "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="time with faults (default 5)")
    parser.add_argument("--seed", type=int, default=20261120, help="order of tasks and faults (default 20261120)")
    parser.add_argument("--agent", default=os.path.join(target, "debug", "data-exchange-agent"))
    parser.add_argument("--memory-limit", type=int, default=600, help="MiB of the agent at any time (default 600)")
    parser.add_argument("--work", default="/var/tmp", help="folder for data and logs (default /var/tmp)")
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    given = parser.parse_args()
    given.agent = os.path.abspath(given.agent)
    if not os.access(given.agent, os.X_OK):
        parser.error(f"{given.agent} is not there; run `cargo build`")
    return given


class Disk:
    """A small file system, or a plain folder where none can be mounted."""

    def __init__(self, path, mebibytes):
        self.path = path
        os.mkdir(path)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0777", "tmpfs", path]
        try:
            self.is_small = subprocess.run(command, capture_output=True).returncode == 0
        except FileNotFoundError:
            self.is_small = False

    def close(self):
        if self.is_small:
            # Also while somebody still has a file open on it.
            subprocess.run(["umount", "--lazy", self.path], capture_output=True)


class Measures:
    """Memory and descriptors of the agent over time."""

    def __init__(self, agent):
        self._agent = agent
        self.peak_bytes = 0
        self.peak_descriptors = 0
        self.idle = []

    def take(self):
        found = self._agent.resident()
        if found:
            self.peak_bytes = max(self.peak_bytes, found[0])
            self.peak_descriptors = max(self.peak_descriptors, found[1])
        return found

    def take_idle(self):
        """At a moment without work: the smallest of several looks, so that a short request does not count."""
        looks = []
        # The agent gives memory back within some seconds of its last task.
        for _ in range(100):
            looks.append(self.take())
            time.sleep(0.1)
        looks = [look for look in looks if look]
        self.idle.append((min(look[0] for look in looks), min(look[1] for look in looks)))


def settings(folder, output, data, network, store):
    quoted = json.dumps  # TOML's basic strings take JSON's escapes
    return f"""
[application]
data_directory = {quoted(data)}
workers = {WORKERS}
stop_grace = "2s"

[transfer]
row_group_rows = 20000

# The file systems here are smaller than what is wanted by default; being full is what is tried.
[guards]
min_free_disk = 0

[connections.source.facts]
kind = "postgresql"
host = "127.0.0.1"
port = {network.port}
database = "postgres"
username = "soak"
connect_timeout = "5s"

[connections.target.local]
root = {quoted(output)}

[connections.target.s3]
bucket_name = "{servers.Store.BUCKET}"
prefix = "exports/"
region_name = "us-east-1"
endpoint_url = "http://127.0.0.1:{store.port}"
path_style = true
access_key_id = "soak"
secret_access_key = "soak-secret"
part_size = "5 MiB"
"""


class Soak:
    """Everything that runs, and the order in which it ends."""

    def __init__(self, given, folder):
        self.given = given
        self.folder = folder
        self.closing = []
        self.ledger = work.Ledger()
        self.agent = None
        self.refused = 0

    def prepare(self):
        given, folder = self.given, self.folder
        output = self._closed(Disk(os.path.join(folder, "output"), 48))
        data = self._closed(Disk(os.path.join(folder, "data"), 192))
        self.disks = {disk_name: disk.path for disk_name, disk in (("output", output), ("queue", data)) if disk.is_small}
        self.database = self._closed(servers.Postgres(folder))
        self.database.sql(work.TABLE_SQL)
        self.reference = os.path.join(folder, "facts.csv")
        with open(self.reference, "w") as file:
            file.write(self.database.sql("\\copy facts TO STDOUT (FORMAT csv, NULL '\\N')"))
        self.store = self._closed(servers.Store(folder))
        self.network = self._closed(proxies.NetworkProxy("127.0.0.1", self.database.port))
        self.store_proxy = self._closed(proxies.StoreProxy(self.store.port, given.seed))
        text = settings(folder, output.path, data.path, self.network, self.store_proxy)
        self.agent = self._closed(servers.Agent(given.agent, folder, text))
        self.agent.wait_until_live()
        self.output = output.path
        self.measures = Measures(self.agent)
        self.submitter = work.Submitter(self.agent, self.ledger, given.seed, OPEN_TASKS)
        self.judge = work.Judge(self.agent, self.store, self.ledger, output.path, self.reference, folder)
        self.watchers = work.Watchers(self.agent, self.ledger, given.seed)
        self.faults = injected.Faults(
            given.seed, self.agent, self.database, self.network, self.store_proxy, self.disks, self.watch
        )

    def _closed(self, thing):
        self.closing.append(thing)
        return thing

    def close(self):
        for thing in reversed(self.closing):
            thing.close()

    def watch(self):
        """Between and during faults: the agent must not end by itself."""
        self.measures.take()
        code = self.agent.process.poll()
        if code is not None:
            raise servers.Broken(f"the agent ended by itself with {code}: {self.agent.last_words()}")

    def run(self):
        seconds = self.given.minutes * 60
        begun = time.monotonic()
        for thread in (self.submitter, self.judge, self.watchers):
            thread.start()
        self.faults.run(begun + seconds * (1 - ONE_LIFE_SHARE))
        # A life of its own for what is measured, which begins with a load.
        self.faults.run(begun + seconds * (1 - ONE_LIFE_SHARE + WARM_UP_SHARE), without_restarts=True)
        self.drain()
        self.measures.take_idle()
        self.resume()
        self.faults.run(begun + seconds, without_restarts=True)
        self.drain()
        self.measures.take_idle()
        self.judge.stopping.set()
        self.judge.join()
        self.watchers.stopping.set()
        self.watchers.join()
        self.look_at_the_end()

    def drain(self):
        """Nothing new; waits until every accepted task has ended."""
        self.submitter.stopping.set()
        self.submitter.join(servers.PATIENCE)
        if self.submitter.is_alive():
            raise servers.Broken("a task can be neither submitted nor refused although nothing fails any more")

        def is_empty():
            self.watch()
            return not self.ledger.open_tasks()

        # Back-offs are five or ten minutes at most; a store that throttles has the longer ones.
        patience = 900.0
        begun = time.monotonic()
        while not is_empty():
            if time.monotonic() - begun > patience:
                for task in self.ledger.open_tasks():
                    self.ledger.wrong(f"{task.id} has no outcome {patience:.0f} s after the last fault: {self.task(task)}")
                    self.ledger.end(task)
            time.sleep(0.3)

    def task(self, task):
        try:
            return json.dumps(self.agent.request("GET", f"/tasks/{task.id}")[1])[:600]
        except (OSError, http.client.HTTPException, ValueError) as error:
            return repr(error)

    def resume(self):
        self.refused += self.submitter.refused
        number = len(self.ledger.tasks)
        self.submitter = work.Submitter(self.agent, self.ledger, self.given.seed + 1, OPEN_TASKS, number)
        self.submitter.start()

    def look_at_the_end(self):
        wrong = self.ledger.wrong
        tasks = self.ledger.tasks
        listed = {}
        cursor = ""
        while cursor is not None:
            _, page = self.agent.request("GET", f"/tasks?limit=500{cursor and '&cursor=' + cursor}")
            for view in page["tasks"]:
                if view["id"] in listed:
                    wrong(f"{view['id']} is listed twice")
                listed[view["id"]] = view["status"]
            cursor = page["next_cursor"]
        for task in tasks.values():
            if task.accepted and listed.get(task.id) != task.outcome:
                wrong(f"{task.id} was {task.outcome}, and is {listed.get(task.id)} now")
            if not task.accepted and listed.get(task.id) not in (None, *work.FINAL):
                wrong(f"{task.id} was not accepted, and is {listed.get(task.id)}")
        for name in listed:
            if name not in tasks:
                wrong(f"{name} is there, and nobody has submitted it")
        self.look_for_leftovers()
        completed = sum(task.outcome == "completed" for task in tasks.values())
        if completed < 0.7 * sum(bool(task.accepted) for task in tasks.values()):
            wrong("less than 70 % of the tasks completed: the soak proves little, and something is wrong")
        (bytes_before, files_before), (bytes_after, files_after) = self.measures.idle
        if bytes_after > bytes_before + FLAT_BYTES:
            wrong(f"memory is not flat: {mib(bytes_before)} before, {mib(bytes_after)} after")
        if files_after > files_before + FLAT_DESCRIPTORS:
            wrong(f"descriptors leak: {files_before} before, {files_after} after")
        if self.measures.peak_bytes > self.given.memory_limit << 20:
            wrong(f"the agent took {mib(self.measures.peak_bytes)}; the limit is {self.given.memory_limit} MiB")
        if len(self.disks) < 2 and os.environ.get("REQUIRE_SERVERS"):
            wrong("small file systems cannot be mounted here, so no disk was full, and REQUIRE_SERVERS is set")
        for name in self.faults.missing():
            wrong(f"nothing of the kind \"{name}\" was injected: give it more minutes")
        if any(code != 0 for code in self.faults.exit_codes):
            wrong(f"stops in good order ended with {dict(self.faults.exit_codes)}")
        with open(self.agent.log) as file:
            panics = [line for line in file if "panicked at" in line]
        if panics:
            wrong(f"the agent panicked: {panics[0].strip()}")

    def look_for_leftovers(self):
        wrong = self.ledger.wrong
        left = [name for _, _, names in os.walk(self.output) for name in names]
        if left:
            wrong(f"{len(left)} files are left in the output folder, for example {left[0]}")
        _, uploads = self.store.request("GET", f"/{self.store.BUCKET}?uploads")
        if b"<UploadId>" in uploads:
            wrong(f"{uploads.count(b'<UploadId>')} multipart uploads were neither completed nor aborted")
        _, objects = self.store.request("GET", f"/{self.store.BUCKET}?list-type=2")
        if b"<Key>" in objects:
            wrong(f"{objects.count(b'<Key>')} objects are left in the store")
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        # A session ends a moment after its client.
        end = time.monotonic() + 60
        while (count := int(self.database.sql(sessions))) and time.monotonic() < end:
            time.sleep(0.5)
        if count:
            wrong(f"{count} sessions are left on the database server")

    def summary(self, elapsed):
        tasks = [task for task in self.ledger.tasks.values() if task.accepted]
        outcomes = {outcome: sum(task.outcome == outcome for task in tasks) for outcome in (*work.FINAL, None)}
        attempts = [task.attempts for task in tasks if task.attempts]
        idle = self.measures.idle
        rows = [
            ("time", f"{elapsed / 60:.1f} minutes, seed {self.given.seed}"),
            ("tasks accepted", f"{len(tasks)}; submissions refused while the queue's disk was full: {self.refused + self.submitter.refused}"),
            ("outcomes", ", ".join(f"{count} {outcome or 'without one'}" for outcome, count in outcomes.items() if count)),
            ("attempts", f"{sum(attempts)}; at most {max(attempts, default=0)} for a task, {mean(attempts):.2f} on average"),
            ("rows compared", f"{sum(task.last - task.first + 1 for task in tasks if task.outcome == 'completed'):,}"),
            ("event streams opened and left", f"{self.watchers.opened}"),
            *((name, str(count)) for name, count in sorted(self.faults.counts.items())),
            ("requests that the store failed", f"{self.store_proxy.faults}"),
            ("agent started", f"{self.agent.starts} times; exit codes of stops: {dict(self.faults.exit_codes)}"),
            ("peak memory", mib(self.measures.peak_bytes)),
            ("idle memory, before and after the last phase", " -> ".join(mib(entry[0]) for entry in idle)),
            ("idle descriptors, likewise", " -> ".join(str(entry[1]) for entry in idle)),
            ("peak descriptors", str(self.measures.peak_descriptors)),
            ("wrong", str(len(self.ledger.wrongs))),
        ]
        if not self.disks:
            rows.append(("not done", "full disks: no file system can be mounted here"))
        width = max(len(name) for name, _ in rows)
        print("\n" + "\n".join(f"{name:{width}}  {value}" for name, value in rows))
        for text in self.ledger.wrongs[:50]:
            print(f"WRONG: {text}")

def mib(count):
    return f"{count / (1 << 20):.0f} MiB"


def mean(numbers):
    return statistics.mean(numbers) if numbers else 0.0


def main():
    given = arguments()
    folder = tempfile.mkdtemp(prefix="soak-", dir=given.work)
    # PostgreSQL's own user has to get through.
    os.chmod(folder, 0o755)
    begun = time.monotonic()
    soak = Soak(given, folder)
    status = 2
    try:
        soak.prepare()
        soak.run()
        soak.summary(time.monotonic() - begun)
        status = 1 if soak.ledger.wrongs else 0
    except servers.Broken as broken:
        print(f"soak: {broken}", file=sys.stderr)
        # Without an agent it has not begun.
        status = 1 if soak.agent else 2
    finally:
        soak.close()
        if given.keep or status:
            print(f"soak: data and logs are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
