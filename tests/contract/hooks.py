"""What schemathesis cannot know from the document: which connections this agent has, and what SQL is.
Half of the right tasks that it makes up therefore name what is there, so that they are accepted and run.
Tasks that are wrong on purpose stay as they are."""

import schemathesis
from schemathesis import GenerationMode

SOURCE = {"database": "sales", "query": "SELECT number FROM numbers"}
DESTINATION = {"type": "local", "path": "made/up"}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.operation.label not in ("POST /tasks", "POST /preview") or case.meta is None:
        return
    if case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if isinstance(case.body, list):
        case.body = [name_what_is_there(task) for task in case.body]
    else:
        case.body = name_what_is_there(case.body)


def name_what_is_there(task):
    if not isinstance(task, dict) or "source_config" not in task or not is_chosen(task):
        return task
    there = {"source_config": SOURCE, "destination_config": DESTINATION}
    return {**task, **{name: value for name, value in there.items() if name in task}}


def is_chosen(task):
    """The same half in every run: by what stands in the task, not by chance."""
    return len(repr(sorted(task.items(), key=repr))) % 2 == 0
