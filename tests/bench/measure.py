"""Runs a command and measures it from outside: wall time, processor time, peak memory."""

import dataclasses
import os
import signal
import subprocess
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A measured command did not do its work; the text says why."""


@dataclasses.dataclass
class Figures:
    """One run. Seconds and bytes."""

    wall: float
    cpu: float
    peak_rss: int
    server_cpu: float | None = None
    output_bytes: int | None = None
    rows: int | None = None


class PeakMemory:
    """Peak memory of a process and its descendants: the largest sum, over time, of what each of the
    living ones has ever held. The kernel keeps the marks (`VmHWM`), so a slow poll misses no peak of a
    process that outlives it; `ru_maxrss` would count the memory of the parent that forked."""

    def __init__(self, pid):
        self._pid = pid
        self._ended = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self):
        while True:
            self._peak = max(self._peak, sum(high_water_mark(pid) for pid in family(self._pid)))
            if self._ended.wait(0.01):
                return

    def end(self):
        self._ended.set()
        self._thread.join()
        return self._peak


def family(pid):
    """The process and its descendants."""
    members, new = [], [pid]
    while new:
        members += new
        new = [child for parent in new for child in _children(parent)]
    return members


def _children(pid):
    children = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                children += [int(child) for child in file.read().split()]
    except OSError:
        pass
    return children


def memory(pid, field):
    """A field of /proc/PID/status, in bytes; 0 for a process that is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def high_water_mark(pid):
    return memory(pid, "VmHWM")


def processor_seconds(pid, of_ended_children=False):
    """User and system time of a living process, or of those children that it has waited for."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    user, system = (13, 14) if of_ended_children else (11, 12)
    return (int(fields[user]) + int(fields[system])) / TICKS


def run(command, *, environment=None, server_pid=None, limit=3600, log=None):
    """Runs a command to its end. Its output goes nowhere, its messages to `log`."""
    os.sync()
    server_before = processor_seconds(server_pid, of_ended_children=True) if server_pid else None
    with open(log or os.devnull, "w+") as messages:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,
        )
        memory_watch = PeakMemory(process.pid)
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            # wait4 tells the processor time of exactly this child and what it waited for.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            # The benchmark is being ended: neither the command nor the timer may outlive it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            timer.cancel()
        wall = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = memory_watch.end()
        if process.returncode != 0:
            messages.seek(0)
            last = [line.strip() for line in messages.read().splitlines() if line.strip()][-1:]
            raise Failed(f"exit status {process.returncode}: {''.join(last)[:300]}")
    figures = Figures(wall, usage.ru_utime + usage.ru_stime, peak)
    if server_pid:
        # Backends end a moment after their client; the postmaster then counts them.
        figures.server_cpu = settled(server_pid) - server_before
    return figures


def settled(server_pid, limit=5.0):
    """Processor time of a server's ended children, once no client backend is left."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline and any(_is_backend(pid) for pid in _children(server_pid)):
        time.sleep(0.01)
    return processor_seconds(server_pid, of_ended_children=True)


def _is_backend(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            title = file.read()
    except OSError:
        return False
    # A backend that has ended and was not waited for yet has no command line any more.
    return title == "" or "127.0.0.1" in title or "[local]" in title
