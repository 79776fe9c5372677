"""An S3-compatible store for the benchmark: s3s-fs, which keeps objects as files of a folder."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

ACCESS_KEY, SECRET_KEY, REGION = "benchmark", "benchmark-secret", "us-east-1"


class Store:
    """Runs until `close`. `missing` says why there is none."""

    bucket = "bench"

    def __init__(self, program, folder):
        self._process = None
        self.missing = None if program else "s3s-fs is not installed (--install-tools)"
        self.environment = {}
        if self.missing:
            return
        self.root = tempfile.mkdtemp(prefix="bench-s3-", dir=folder)
        os.mkdir(os.path.join(self.root, self.bucket))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.command = [
            program, "--host", "127.0.0.1", "--port", str(port),
            "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, self.root,
        ]  # fmt: skip
        with open(os.path.join(self.root, "log"), "w") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "RUST_LOG": "error"}
            )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    with open(os.path.join(self.root, "log")) as log:
                        said = log.read()[-300:].strip()
                    self.close()
                    self.missing = f"s3s-fs did not start: {said}"
                    return
                time.sleep(0.02)

    def folder(self, prefix):
        """Where the objects below a prefix are, as files."""
        return os.path.join(self.root, self.bucket, prefix)

    def close(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
            shutil.rmtree(self.root, ignore_errors=True)
