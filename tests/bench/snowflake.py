"""The agent against the double of Snowflake: an encrypted stage, and the queue of stored procedures.

The double (`tests/bench/doubles.rs`) runs as a process of its own, and answers at once. Its stage is a bucket of
the benchmark's store.
"""

import json
import os
import time

import doubles
import measure
import service
import store as s3

STAGE = '@db.public."My Stage"'
QUEUE_LIMIT = 600.0


class Double(doubles.Double):
    """The double of Snowflake."""

    def __init__(self, program, store):
        super().__init__(program, "snowflake", store.endpoint, store.bucket, s3.ACCESS_KEY, s3.SECRET_KEY)

    def tell(self, line):
        """Obeys a line, and returns the answer."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise measure.Failed("the double has ended")
        return json.loads(answer)

    def settings(self):
        """The connection `lake` in the configuration of the agent."""
        return (
            "[connections.target.lake]\n"
            'kind = "snowflake"\naccount = "bench"\nprotocol = "http"\nuser = "bench"\npassword = "bench"\n'
            f'host = "{self.host}"\nport = {self.port}\ndatabase = "DB"\nschema = "PUBLIC"\n'
        )


def transfer(program, database, double, folder, job, slices):
    """One task from POST to completed; what is on the stage is decrypted into the folder of the job."""
    path = os.path.basename(job.folder)
    destination = {"type": "snowflake_stage", "stage": f"{STAGE}/{path}/"}
    figures = service.transfer(
        program, database, None, folder, job.table, destination, slices, more=double.settings()
    )
    double.tell(f"decrypt {path} {job.folder}")
    return figures


def queue(program, database, double, folder, table, tasks, workers):
    """Tasks of the queue from the first pull to the last completion. Returns the figures of the run."""
    payload = {
        "source_config": {"database": "postgresql", "table": table},
        "destination_config": {"type": "snowflake_stage", "stage": f"{STAGE}/queue/"},
    }
    double.tell("report")
    double.tell(f"enqueue {tasks} {json.dumps(payload)}")
    more = double.settings() + (
        '[task_source.snowflake_stored_procedure]\nconnection_name = "lake"\nagent_id = "bench"\n'
    )
    top = 'selected_task_source = "snowflake_stored_procedure"\n'
    agent = service.Service(program, database, None, folder, more=more, top=top, workers=workers)
    try:
        begun = time.monotonic()
        report, statements = double.tell("report"), {}
        requests, busy, span = 0, 0.0, None
        while True:
            for kind, count in report["statements"].items():
                statements[kind] = statements.get(kind, 0) + count
            requests, busy = requests + report["requests"], busy + report["busy_seconds"]
            states = report["states"]
            if states["COMPLETED"] == tasks:
                break
            if states["FAILED"] or time.monotonic() - begun > QUEUE_LIMIT:
                raise measure.Failed(f"the queue ended as {states}: {agent.last_log_line()}")
            time.sleep(0.05)
            report = double.tell("report")
        pid = agent.process.pid
        cpu, peak = measure.processor_seconds(pid), measure.high_water_mark(pid)
        span = double.tell("span")["span_seconds"]
    finally:
        agent.close()
    return {
        "tasks": tasks, "workers": workers, "span": span, "busy": busy, "cpu": cpu, "peak_rss": peak,
        "statements": statements, "requests": requests, "command": shlex.join(agent.command),
    }  # fmt: skip
