"""Decrypts stage files with Snowflake's own connector.

Reads a JSON array of {"file", "key", "iv", "matdesc", "master_key", "output"} on standard input, and
writes one of {"digest", "size"} of the decrypted content, as the connector computes them.
"""

import json
import os
import sys

from snowflake.connector.constants import EncryptionMetadata
from snowflake.connector.encryption_util import SnowflakeEncryptionUtil
from snowflake.connector.file_util import SnowflakeFileUtil
from snowflake.connector.storage_client import SnowflakeFileEncryptionMaterial

results = []
for entry in json.load(sys.stdin):
    description = json.loads(entry["matdesc"])
    assert list(description) == ["queryId", "smkId", "keySize"], description
    material = SnowflakeFileEncryptionMaterial(
        query_stage_master_key=entry["master_key"],
        query_id=description["queryId"],
        smk_id=int(description["smkId"]),
    )
    metadata = EncryptionMetadata(key=entry["key"], iv=entry["iv"], matdesc=entry["matdesc"])
    folder = os.path.dirname(entry["output"])
    decrypted = SnowflakeEncryptionUtil.decrypt_file(metadata, material, entry["file"], tmp_dir=folder)
    os.rename(decrypted, entry["output"])
    digest, size = SnowflakeFileUtil.get_digest_and_size_for_file(entry["output"])
    results.append({"digest": digest, "size": size})
json.dump(results, sys.stdout)
