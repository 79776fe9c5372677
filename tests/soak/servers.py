"""The processes of a soak: PostgreSQL, an S3 server, the agent. Each is ended when its object is closed,
and by the kernel when this program dies."""

import ctypes
import glob
import http.client
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time

PATIENCE = 120.0


class Broken(Exception):
    """The soak cannot go on; the text says why."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def die_with_parent():
    """Before a program starts: the kernel is to kill it when this program ends, however it ends."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(what, probe, patience=PATIENCE):
    begun = time.monotonic()
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() - begun > patience:
            raise Broken(f"still waiting for {what} after {patience:.0f} s")
        time.sleep(0.05)


class Postgres:
    """A cluster of its own on a free loopback port."""

    def __init__(self, folder):
        self._folder = os.path.join(folder, "postgresql")
        os.mkdir(self._folder)
        self._data = os.path.join(self._folder, "data")
        self._bin = self._binaries()
        # PostgreSQL refuses to run as root.
        self._identity = {}
        if os.geteuid() == 0:
            account = self._account()
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.port = free_port()
        self._run("initdb", "-D", self._data, "-U", "soak", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with open(os.path.join(self._data, "postgresql.conf"), "a") as file:
            file.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
                "fsync = off\nshared_buffers = 64MB\nmax_connections = 100\ntimezone = 'UTC'\n"
            )
        self._process = None
        self.start()

    @staticmethod
    def _binaries():
        given = os.environ.get("TEST_POSTGRES_BIN")
        found = [given] if given else sorted(
            glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[-2])
        )
        if not found or not os.path.exists(os.path.join(found[-1], "initdb")):
            raise Broken("no PostgreSQL server binaries: install PostgreSQL or set TEST_POSTGRES_BIN")
        return found[-1]

    @staticmethod
    def _account():
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                pass
        raise Broken("no user 'postgres' or 'nobody' to run the server as")

    def _run(self, name, *arguments):
        done = subprocess.run(
            [os.path.join(self._bin, name), *arguments], cwd=self._folder, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, start_new_session=True, **self._identity,
        )  # fmt: skip
        if done.returncode != 0:
            raise Broken(f"{name}: {done.stdout[-300:]}{done.stderr[-600:]}")

    def start(self):
        log = open(os.path.join(self._folder, "log"), "a")
        self._process = subprocess.Popen(
            [os.path.join(self._bin, "postgres"), "-D", self._data], cwd=self._folder, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_parent, **self._identity,
        )  # fmt: skip
        log.close()
        wait_until("PostgreSQL to accept connections", self._is_up)

    def _is_up(self):
        ready = os.path.join(self._bin, "pg_isready")
        return subprocess.run([ready, "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0

    def stop(self, how):
        """`SIGINT` ends sessions in good order, `SIGQUIT` at once, as a crash does."""
        self._process.send_signal(how)
        self._process.wait(PATIENCE)

    def sql(self, text):
        """Runs SQL and returns what came out, one row a line, columns separated by `|`."""
        done = subprocess.run(
            [os.path.join(self._bin, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-A", "-t", "-h", "127.0.0.1",
             "-p", str(self.port), "-U", "soak", "postgres"],
            input=text, text=True, capture_output=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise Broken(f"psql: {done.stderr.strip()[-600:]}")
        return done.stdout

    def close(self):
        if self._process and self._process.poll() is None:
            self.stop(signal.SIGQUIT)


class Store:
    """moto's S3 server with one bucket."""

    BUCKET = "soak"

    def __init__(self, folder):
        self.port = free_port()
        program = os.environ.get("TEST_MOTO_SERVER") or os.path.join(os.path.dirname(sys.executable), "moto_server")
        if not os.path.exists(program):
            raise Broken("moto_server is not there; tests/run.sh installs it")
        log = open(os.path.join(folder, "store.log"), "w")
        self._process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(self.port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        log.close()
        wait_until("the store to answer", self._is_up)
        status, _ = self.request("PUT", f"/{self.BUCKET}")
        if status != 200:
            raise Broken(f"the store answers {status} to the creation of a bucket")

    def _is_up(self):
        try:
            return self.request("GET", "/")[0] == 200
        except OSError:
            return False

    def request(self, method, path, tries=10):
        """Status and body. The emulator answers 500 now and then when others change what it lists."""
        while True:
            status, body = self._try(method, path)
            tries -= 1
            if status < 500 or tries == 0:
                return status, body
            time.sleep(0.2)

    def _try(self, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            # Any will do: it only says which service is meant.
            headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=soak/20260101/us-east-1/s3/aws4_request"}
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def close(self):
        self._process.kill()
        self._process.wait()


class Agent:
    """The program under test, which can be killed and started again in the same place."""

    def __init__(self, program, folder, settings):
        self._program = program
        self._folder = os.path.join(folder, "agent")
        os.mkdir(self._folder)
        self.port = free_port()
        self._configuration = os.path.join(self._folder, "configuration.toml")
        with open(os.open(self._configuration, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(settings)
        self.log = os.path.join(self._folder, "log")
        self.starts = 0
        self.process = None
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [self._program, "run", "--config", self._configuration, "--port", str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder,
                env={"HOME": self._folder, "PATH": os.environ.get("PATH", "")}, preexec_fn=die_with_parent,
            )  # fmt: skip
        self.starts += 1

    def wait_until_live(self):
        def is_live():
            if self.process.poll() is not None:
                raise Broken(f"the agent ended by itself with {self.process.returncode}: {self.last_words()}")
            try:
                return self.request("GET", "/live")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        wait_until("the agent to answer", is_live)

    def last_words(self):
        with open(self.log) as file:
            return "".join(file.readlines()[-5:])

    def request(self, method, path, body=None):
        """Status and body as JSON; an `OSError` or `HTTPException` when there was no whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def terminate(self):
        """Asks the agent to stop in good order; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def resident(self):
        """Resident memory in bytes, and open descriptors; `None` while it does not run."""
        pid = self.process.pid
        try:
            with open(f"/proc/{pid}/status") as file:
                lines = [line for line in file if line.startswith("VmRSS:")]
            return int(lines[0].split()[1]) * 1024, len(os.listdir(f"/proc/{pid}/fd"))
        except (OSError, IndexError):
            return None

    def close(self):
        if self.process.poll() is None:
            self.kill()
