"""The server and the tables that are measured: a private PostgreSQL, or one that is given."""

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import urllib.parse

WORDS = """about above across after again against ahead along already among ancient and around asleep
blithely bold bravely busy carefully close daring deposits dogged even express final fluffily foxes
furiously frets haggle ideas idle instructions ironic packages pending permanent pinto platelets
quickly quiet regular requests ruthless silent slyly sleep special stealthy theodolites thin
unusual warhorses waters wake among beans accounts asymptotes cajole courts dependencies dolphins
even realms sauternes sentiments""".split()

# Seven orders take 28 lines: 1, 2, .. 7.
ORDER_OF_LINE = [order for order in range(7) for _ in range(order + 1)]
NUMBER_OF_LINE = [line + 1 for order in range(7) for line in range(order + 1)]


def _array(values, kind):
    if kind == "text":
        return "ARRAY[" + ",".join(f"'{value}'" for value in values) + "]::text[]"
    return "ARRAY[" + ",".join(str(value) for value in values) + f"]::{kind}[]"


def lineitem_sql(table, rows):
    """16 columns with TPC-H's names, types and value ranges; the same rows in every run."""
    words = _array(WORDS[:64], "text")
    word = " || ' ' || ".join(f"({words})[1 + (w >> {6 * index}) % 64]" for index in range(7))
    instructions = _array(["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"], "text")
    modes = _array(["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"], "text")
    return f"""
        CREATE UNLOGGED TABLE {table} (
            l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL,
            l_linenumber integer NOT NULL, l_quantity numeric(15,2) NOT NULL,
            l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL,
            l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL,
            l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
            l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL);
        INSERT INTO {table}
        SELECT o / 8 * 32 + o % 8 + 1,
               part, (part + s * (2500 + part / 10000)) % 10000 + 1, line,
               quantity, (quantity * (90000 + part / 10 % 20001 + 100 * (part % 1000)))::numeric / 100,
               (a >> 8) % 11 / 100.0, (a >> 16) % 9 / 100.0,
               CASE WHEN received > date '1995-06-17' THEN 'N' WHEN (a >> 24) % 2 = 0 THEN 'R' ELSE 'A' END,
               CASE WHEN shipped > date '1995-06-17' THEN 'O' ELSE 'F' END,
               shipped, shipped + ((b >> 8) % 121 - 60)::integer, received,
               ({instructions})[1 + (b >> 16) % 4], ({modes})[1 + (b >> 24) % 7],
               rtrim(left({word}, 10 + (b >> 32)::integer % 34))
        FROM (
            SELECT *, 1 + a % 200000 AS part, (a >> 40) % 4 AS s, 1 + (a >> 44) % 50 AS quantity,
                   shipped + 1 + (b >> 40)::integer % 30 AS received
            FROM (
                SELECT n / 28 * 7 + ({_array(ORDER_OF_LINE, "bigint")})[1 + n % 28] AS o,
                       ({_array(NUMBER_OF_LINE, "integer")})[1 + n % 28] AS line, a, b, w,
                       date '1992-01-02' + (b % 2526)::integer AS shipped
                FROM (
                    SELECT n, hashint8extended(n, 1) & {2**62 - 1} AS a, hashint8extended(n, 2) & {2**62 - 1} AS b,
                           hashint8extended(n, 3) & {2**62 - 1} AS w
                    FROM generate_series(0::bigint, {rows} - 1) AS n OFFSET 0
                ) AS hashes OFFSET 0
            ) AS orders OFFSET 0
        ) AS lines;
    """


def wide_text_columns():
    """50 columns: name, type, and an expression over the row number `n` and a hash `h`."""
    words = _array(WORDS[:64], "text")
    columns = [("id", "bigint NOT NULL", "n")]
    for number in range(49):
        bits = f"((h >> {number % 40}) # ({number} * 2654435761))"
        word = f"({words})[1 + ({bits} & 63)]"
        if number < 21:
            parts = 1 + number % 4
            text = " || ' ' || ".join(f"({words})[1 + (({bits} >> {5 * part}) & 63)]" for part in range(parts))
            unique = "" if number % 3 else f" || ' ' || ({bits} & 1048575)"
            column = (f"text_{number}", "text", text + unique)
        elif number < 27:
            json = f"""('{{"name": "' || {word} || '", "count": ' || ({bits} & 4095) || ', "tags": ["a", "b"]}}')::jsonb"""
            column = (f"json_{number}", "jsonb", json)
        elif number < 35:
            column = (
                f"time_{number}",
                "timestamptz",
                f"timestamptz '2020-01-01 00:00:00+00' + ({bits} & 157286399) * interval '1 second'"
                f" + ({bits} & 1048575) % 1000000 * interval '1 microsecond'",
            )
        elif number < 42:
            column = (f"double_{number}", "double precision", f"({bits} & 4503599627370495)::double precision / 1024")
        elif number < 45:
            column = (f"uuid_{number}", "uuid", f"md5((n * 64 + {number})::text)::uuid")
        else:
            column = (f"flag_{number}", "boolean", f"{bits} & 1 = 1")
        # A fifth of the values is NULL, in another fifth of the rows for each column.
        name, kind, expression = column
        columns.append((name, kind, f"CASE WHEN (n + {number}) % 5 <> 0 THEN {expression} END"))
    return columns


def wide_text_sql(table, rows):
    columns = wide_text_columns()
    declared = ", ".join(f"{name} {kind}" for name, kind, _ in columns)
    values = ", ".join(expression for _, _, expression in columns)
    return f"""
        CREATE UNLOGGED TABLE {table} ({declared});
        INSERT INTO {table} SELECT {values} FROM (
            SELECT n, hashint8extended(n, 4) & {2**62 - 1} AS h FROM generate_series(1::bigint, {rows}) AS n OFFSET 0
        ) AS hashes;
    """


class Database:
    """A database on a server that is already there."""

    server_pid = None

    def __init__(self, dsn):
        self.dsn = dsn
        parts = urllib.parse.urlsplit(dsn)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 5432
        self.user = urllib.parse.unquote(parts.username or "postgres")
        self.password = urllib.parse.unquote(parts.password or "")
        self.name = parts.path.lstrip("/") or self.user

    def psql(self, sql, *options):
        command = [program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-A", "-t", *options, self.dsn]
        done = subprocess.run(command, input=sql, text=True, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr.strip()[-600:]}")
        return done.stdout.strip()

    def load(self, table, rows, make_sql):
        """Makes the table unless it is there with that many rows; then vacuums and warms it."""
        exists = self.psql(f"SELECT to_regclass('{table}') IS NOT NULL") == "t"
        if not exists or int(self.psql(f"SELECT count(*) FROM {table}")) != rows:
            self.psql(f"DROP TABLE IF EXISTS {table};" + make_sql(table, rows))
        self.psql(f"VACUUM (FREEZE, ANALYZE) {table}")
        subprocess.run(
            [program("psql"), "-X", "-q", "-c", f"COPY {table} TO STDOUT (FORMAT binary)", self.dsn],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        size, pages = self.psql(
            f"SELECT pg_table_size('{table}'), relpages FROM pg_class WHERE oid = '{table}'::regclass"
        ).split("|")
        return {"table": table, "rows": rows, "heap_mb": round(int(size) / 1e6), "pages": int(pages)}

    def without_password(self, text):
        """The commands of a report hold the URL; its password stays here."""
        spellings = {self.password, urllib.parse.quote(self.password, safe="")} - {""}
        for spelling in spellings:
            text = text.replace(spelling, "***")
        return text

    def version(self):
        return self.psql("SHOW server_version")

    def close(self):
        pass


class PrivateServer(Database):
    """A cluster of its own on a free loopback port, in a temporary folder, removed at the end."""

    def __init__(self, folder=None):
        self._folder = tempfile.mkdtemp(prefix="bench-postgres-", dir=folder)
        self._data = os.path.join(self._folder, "data")
        # PostgreSQL refuses to run as root.
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
        self._server("initdb", "-D", self._data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        port = _free_port()
        with open(os.path.join(self._data, "postgresql.conf"), "a") as file:
            file.write(
                f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n"
                "fsync = off\nmax_wal_size = 8GB\nshared_buffers = 1GB\nautovacuum = off\n"
                "maintenance_work_mem = 256MB\nmax_connections = 200\n"
            )
        log = os.path.join(self._folder, "log")
        self._server("pg_ctl", "-D", self._data, "-l", log, "-w", "-t", "60", "start")
        super().__init__(f"postgresql://bench@127.0.0.1:{port}/postgres")
        with open(os.path.join(self._data, "postmaster.pid")) as file:
            self.server_pid = int(file.readline())

    def _server(self, name, *arguments):
        command = [os.path.join(server_binaries(), name), *arguments]
        done = subprocess.run(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            start_new_session=True, **self._identity,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stdout[-300:]}{done.stderr[-600:]}")

    def close(self):
        if os.path.exists(os.path.join(self._data, "postmaster.pid")):
            self._server("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)


def _account():
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise RuntimeError("no user 'postgres' or 'nobody' to run the server as")


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def server_binaries():
    """The folder of initdb: TEST_POSTGRES_BIN, else the newest of Debian's layout."""
    given = os.environ.get("TEST_POSTGRES_BIN")
    found = [given] if given else sorted(
        glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[-2])
    )
    if not found or not os.path.exists(os.path.join(found[-1], "initdb")):
        raise RuntimeError("no PostgreSQL server binaries: install PostgreSQL, set TEST_POSTGRES_BIN, or pass --dsn")
    return found[-1]


def program(name):
    """A program on the path, or beside the server's."""
    path = shutil.which(name)
    if path is None:
        beside = os.path.join(server_binaries(), name)
        path = beside if os.path.exists(beside) else None
    if path is None:
        raise RuntimeError(f"the program {name} is not installed")
    return path
