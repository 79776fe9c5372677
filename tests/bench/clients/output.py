"""Where the Python clients write: one Parquet file, in a directory or in an S3-compatible store."""

import os
import sys

import pyarrow
import pyarrow.fs
import pyarrow.parquet


def write(batches, schema, target):
    """Writes record batches as they come, in row groups of about 122,880 rows, zstd level 1."""
    with _open(target) as sink, pyarrow.parquet.ParquetWriter(
        sink, schema, compression="zstd", compression_level=1
    ) as writer:
        waiting, rows = [], 0
        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= 122_880:
                writer.write_table(pyarrow.Table.from_batches(waiting, schema))
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pyarrow.Table.from_batches(waiting, schema))


def _open(target):
    if not target.startswith("s3://"):
        return pyarrow.OSFile(target, "wb")
    store = pyarrow.fs.S3FileSystem(
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=os.environ["AWS_ENDPOINT_URL"],
        region=os.environ["AWS_REGION"],
    )
    return store.open_output_stream(target.removeprefix("s3://"))


def arguments():
    """The database's URL, the table and the target."""
    dsn, table, target = sys.argv[1:4]
    return dsn, table, target, sys.argv[4:]
