"""Answers a query over files that the agent wrote, with programs that know nothing of the agent.

Reads {"files": [...], "sql": "... FROM result ..."} from standard input. The files are read by
DuckDB as the table "result", with a column "file" for the path. Writes the rows as texts, the
columns and types as pyarrow sees them, and the rows of each file as its footer counts them.
"""

import json
import sys

import duckdb
import pyarrow.parquet

request = json.load(sys.stdin)
files = request["files"]
listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
if files[0].endswith(".parquet"):
    reader = f"read_parquet([{listed}], filename = 'file')"
    footers = [pyarrow.parquet.read_metadata(file) for file in files]
    schema = pyarrow.parquet.read_schema(files[0])
    columns = [[field.name, str(field.type), field.nullable] for field in schema]
    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
else:
    # Only an unquoted empty field is NULL.
    reader = (
        f"read_csv([{listed}], filename = 'file', header = true, all_varchar = true, "
        "nullstr = '', allow_quoted_nulls = false)"
    )
    footers, columns, metadata = [], [], {}
rows = connection.execute(request["sql"].replace("FROM result", f"FROM {reader}")).fetchall()
json.dump(
    {
        "rows": [[None if value is None else str(value) for value in row] for row in rows],
        "columns": columns,
        "metadata": metadata,
        "file_rows": [footer.num_rows for footer in footers],
    },
    sys.stdout,
)
