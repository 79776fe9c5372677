"""ADBC's PostgreSQL driver to Parquet, streaming: with_adbc.py DSN TABLE TARGET"""

import adbc_driver_postgresql.dbapi

import output

dsn, table, target, _ = output.arguments()
with adbc_driver_postgresql.dbapi.connect(dsn) as connection, connection.cursor() as cursor:
    cursor.execute(f"SELECT * FROM {table}")
    reader = cursor.fetch_record_batch()
    output.write(reader, reader.schema, target)
