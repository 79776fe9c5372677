"""ConnectorX to Parquet: with_connectorx.py DSN TABLE TARGET PARTITIONS PARTITION_COLUMN"""

import connectorx

import output

dsn, table, target, (partitions, column) = output.arguments()
parallel = {} if partitions == "1" else {"partition_on": column, "partition_num": int(partitions)}
reader = connectorx.read_sql(
    dsn, f"SELECT * FROM {table}", return_type="arrow_stream", batch_size=65_536, **parallel
)
output.write(reader, reader.schema, target)
