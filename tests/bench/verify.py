"""Compares written files with the database: row counts always, sums of every column once a tool."""

import decimal
import glob
import os

import duckdb
import pyarrow.parquet


def files_in(folder):
    return sorted(
        path
        for path in glob.glob(os.path.join(glob.escape(folder), "**", "*"), recursive=True)
        if os.path.isfile(path) and path.endswith((".parquet", ".par"))
    )


def written(folder):
    """Rows by the files' own account, and bytes."""
    files = files_in(folder)
    rows = sum(pyarrow.parquet.read_metadata(path).num_rows for path in files)
    return rows, sum(os.path.getsize(path) for path in files)


# By type of the database: what PostgreSQL adds up, and the same in DuckDB. Text is trimmed, because
# readers disagree about the blanks of char(n), and numbers are cast, because some tools write text.
CHECKS = {
    "bigint": ("sum({0})", "sum(CAST({0} AS HUGEINT))"),
    "integer": ("sum({0})", "sum(CAST({0} AS HUGEINT))"),
    "numeric": ("sum({0})", "sum(CAST({0} AS DECIMAL(38, 2)))"),
    "double precision": ("round(sum({0}::numeric), 3)", "round(sum(CAST({0} AS DECIMAL(38, 10))), 3)"),
    "date": ("sum({0} - date '2000-01-01')", "sum(date_diff('day', DATE '2000-01-01', CAST({0} AS DATE)))"),
    "timestamp with time zone": (
        "sum((extract(epoch FROM {0}) * 1000000)::numeric(30, 0))",
        "sum(epoch_us(CAST({0} AS TIMESTAMPTZ)))",
    ),
    "boolean": ("count(*) FILTER (WHERE {0})", "count(*) FILTER (WHERE CAST({0} AS BOOLEAN))"),
    "uuid": ("count(DISTINCT {0})", "count(DISTINCT {0})"),
    "jsonb": (
        "sum(({0} ->> 'count')::integer)",
        "sum(CAST(CAST({0} AS VARCHAR)::JSON ->> 'count' AS INTEGER))",
    ),
    "text": ("sum(octet_length(rtrim({0}::text)))", "sum(strlen(rtrim({0})))"),
}


class Expected:
    """What the database says of a table, asked once; for rows that were written `times` times."""

    def __init__(self, database, table, times=1):
        described = database.psql(
            "SELECT column_name, data_type FROM information_schema.columns"
            f" WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
        )
        self._columns = [tuple(line.split("|")) for line in described.splitlines()]
        values = ", ".join(
            f"count({name}), {_check(kind)[0].format(name)}" for name, kind in self._columns
        )
        row = database.psql(f"SELECT count(*), {values} FROM {table}").split("|")
        row = [value if value == "" else str(times * decimal.Decimal(value)) for value in row]
        self.rows = int(row[0])
        self._values = [tuple(row[1 + 2 * index : 3 + 2 * index]) for index in range(len(self._columns))]

    def compare(self, folder):
        """`equal`, or what differs, in words."""
        files = files_in(folder)
        if not files:
            return "no file"
        connection = duckdb.connect()
        connection.execute("SET threads = 2; SET TimeZone = 'UTC'")
        listed = ", ".join("'" + path.replace("'", "''") + "'" for path in files)
        source = f"read_parquet([{listed}])"
        (rows,) = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
        differences = [] if rows == self.rows else [f"{rows} rows, not {self.rows}"]
        for (name, kind), (count, total) in zip(self._columns, self._values):
            check = f"count({name}), {_check(kind)[1].format(name)}"
            try:
                found = connection.execute(f"SELECT {check} FROM {source}").fetchone()
            except duckdb.Error as error:
                differences.append(f"{name} not comparable ({type(error).__name__})")
                continue
            if not (_same(found[0], count) and _same(found[1], total)):
                differences.append(name)
        return "equal" if not differences else "differs: " + ", ".join(differences)


def _check(kind):
    return CHECKS.get(kind, CHECKS["text"])


def _same(found, expected):
    if found is None or expected == "":
        return found is None and expected == ""
    found, expected = float(found), float(expected)
    return abs(found - expected) <= 1e-9 * max(1.0, abs(expected)) if found != expected else True
