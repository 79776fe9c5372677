"""What schemathesis cannot know from the document: which connections this agent has, and what SQL is.
Half of the right tasks that it makes up therefore name what is there, so that they are accepted and run.
Tasks that are wrong on purpose stay as they are.

`CONTRACT_KEYS` has API keys, separated by commas: requests come by turns without one and with each of them, so that
every route is asked by callers who may, who may not, and whom nobody knows."""

import itertools
import os

import schemathesis
from schemathesis import GenerationMode

KEYS = [key for key in os.environ.get("CONTRACT_KEYS", "").split(",") if key]
TURNS = itertools.cycle([None, *KEYS])
SOURCE = {"database": "sales", "query": "SELECT number FROM numbers"}
KEY_HEADERS = ("authorization", "x-api-key")
DESTINATION = {"type": "local", "path": "made/up"}


@schemathesis.hook
def before_call(context, case, kwargs):
    if KEYS:
        show_next_key(case)
    if case.operation.label not in ("POST /tasks", "POST /preview") or case.meta is None:
        return
    if case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if isinstance(case.body, list):
        case.body = [name_what_is_there(task) for task in case.body]
    else:
        case.body = name_what_is_there(case.body)


def show_next_key(case):
    """In place of what was made up for these headers, which no agent would know."""
    others = {name: value for name, value in (case.headers or {}).items() if name.lower() not in KEY_HEADERS}
    key = next(TURNS)
    case.headers = others if key is None else {**others, "X-API-Key": key}


def name_what_is_there(task):
    if not isinstance(task, dict) or "source_config" not in task or not is_chosen(task):
        return task
    there = {"source_config": SOURCE, "destination_config": DESTINATION}
    return {**task, **{name: value for name, value in there.items() if name in task}}


def is_chosen(task):
    """The same half in every run: by what stands in the task, not by chance."""
    return len(repr(sorted(task.items(), key=repr))) % 2 == 0
