"""A private MariaDB with the same `lineitem`, and the tools that read from it."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time

import tools
from database import _account, _free_port, program

TABLE = """
    CREATE TABLE lineitem (
        l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL,
        l_linenumber int NOT NULL, l_quantity decimal(15,2) NOT NULL, l_extendedprice decimal(15,2) NOT NULL,
        l_discount decimal(15,2) NOT NULL, l_tax decimal(15,2) NOT NULL, l_returnflag char(1) NOT NULL,
        l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL,
        l_receiptdate date NOT NULL, l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL,
        l_comment varchar(44) NOT NULL, PRIMARY KEY (l_orderkey, l_linenumber)) CHARACTER SET latin1
"""


class PrivateServer:
    """A server of its own on a free loopback port, in a temporary folder, removed at the end."""

    server_pid = None
    user = password = name = "bench"
    host = "127.0.0.1"

    def __init__(self, folder=None):
        self._folder = tempfile.mkdtemp(prefix="bench-mariadb-", dir=folder)
        self._process = None
        # It refuses to run as root.
        self._identity = {}
        if os.geteuid() == 0:
            account = _account()
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        self.port = _free_port()
        self._socket = os.path.join(self._folder, "socket")
        data = os.path.join(self._folder, "data")
        self._run(
            [mariadb_program("mariadb-install-db"), "--no-defaults", "--skip-test-db", f"--datadir={data}",
             "--auth-root-authentication-method=normal"]
        )  # fmt: skip
        self._process = subprocess.Popen(
            [mariadb_program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--socket={self._socket}",
             f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve", "--local-infile=1",
             "--innodb-buffer-pool-size=2G", "--innodb-log-file-size=1G", "--innodb-flush-log-at-trx-commit=0",
             "--innodb-doublewrite=0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self._folder, start_new_session=True, **self._identity,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while subprocess.run(self._client("-e", "SELECT 1"), capture_output=True).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("mariadbd did not start")
            time.sleep(0.05)
        self.sql(
            "CREATE DATABASE bench; CREATE USER bench@'%' IDENTIFIED BY 'bench'; GRANT ALL ON *.* TO bench@'%'"
        )
        self.dsn = f"mysql://bench:bench@{self.host}:{self.port}/bench"

    def _run(self, command):
        done = subprocess.run(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            start_new_session=True, **self._identity,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stdout[-300:]}{done.stderr[-600:]}")

    def _client(self, *options):
        return [mariadb_program("mariadb"), "--no-defaults", "--user=root", f"--socket={self._socket}", "--batch",
                "--skip-column-names", "--local-infile=1", *options]  # fmt: skip

    def sql(self, text):
        done = subprocess.run(self._client(), input=text, text=True, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"mariadb: {done.stderr.strip()[-600:]}")
        return done.stdout.strip()

    def take_lineitem(self, postgres):
        """Copies the table of a PostgreSQL, so that both have the same rows."""
        path = os.path.join(self._folder, "lineitem.csv")
        with open(path, "w") as file:
            command = [program("psql"), "-X", "-q", "-c", "COPY lineitem TO STDOUT (FORMAT text)", postgres.dsn]
            subprocess.run(command, stdout=file, check=True)
        self.sql(f"USE bench; {TABLE}; LOAD DATA LOCAL INFILE '{path}' INTO TABLE lineitem; ANALYZE TABLE lineitem")
        os.remove(path)
        # Once through the buffer pool, so that no tool reads from the disk.
        self.sql("SELECT COUNT(l_comment) FROM bench.lineitem")

    def version(self):
        return self.sql("SELECT VERSION()")

    def close(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def mariadb_program(name):
    folder = os.environ.get("TEST_MARIADB_BIN", "/usr/sbin")
    beside = os.path.join(os.path.dirname(folder.rstrip("/")), "bin")
    found = shutil.which(name, path=os.pathsep.join([folder, beside, os.environ.get("PATH", "")]))
    if found is None:
        raise RuntimeError(f"the program {name} is not installed (package mariadb-server)")
    return found


def limit():
    """What the server can send to its own client: the text protocol, unbuffered, thrown away."""

    def command(job):
        database = job.database
        return [mariadb_program("mariadb"), "--no-defaults", f"--host={database.host}", f"--port={database.port}",
                f"--user={database.user}", f"--password={database.password}", "--quick", "--batch",
                "-e", f"SELECT * FROM {database.name}.{job.table}"]  # fmt: skip

    return tools.Tool("limit: mariadb --quick to /dev/null", "copy", command, writes=False)


def odbc2parquet(found):
    driver = next(
        (path for path in ("/usr/lib/x86_64-linux-gnu/odbc/libmaodbc.so",) if os.path.exists(path)), None
    )

    def command(job):
        database = job.database
        connection = (
            f"Driver={driver};Server={database.host};Port={database.port};Database={database.name};"
            f"Uid={database.user};Pwd={database.password};FORWARDONLY=1;NO_CACHE=1;"
        )
        return [
            found, "--quiet", "query", "--connection-string", connection,
            "--column-compression-default", "zstd", "--column-compression-level-default", "1",
            "--batch-size-row", "20000", "--column-length-limit", "256",
            f"{job.folder}/out.par", f"SELECT * FROM {job.table}",
        ]  # fmt: skip

    missing = None if found and driver else "not installed (--install-tools; needs unixodbc-dev and odbc-mariadb)"
    return tools.Tool("odbc2parquet (MariaDB's driver, forward only)", "odbc2parquet", command, missing=missing)


def sling():
    """The program that the package of PyPI carries, without its wrapper."""
    found = importlib.util.find_spec("sling_linux_amd64")
    path = found and os.path.join(os.path.dirname(found.origin), "bin", "sling-linux-amd64")

    def command(job):
        database = job.database
        source = f"mysql://{database.user}:{database.password}@{database.host}:{database.port}/{database.name}"
        return [
            path, "run", "--src-conn", source, "--src-stream", f"{database.name}.{job.table}",
            "--tgt-object", f"file://{job.folder}/out.parquet",
        ]  # fmt: skip

    missing = None if path and os.access(path, os.X_OK) else "no program for this machine in its package"
    # Otherwise it fetches DuckDB from the network to write the file with.
    environment = {"SLING_DUCKDB_COMPUTE": "false"}
    return tools.Tool("sling", "sling", command, missing=missing, environment=environment)
