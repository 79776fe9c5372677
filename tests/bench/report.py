"""The figures as Markdown for people and JSON for programs."""

import dataclasses
import json
import os
import statistics


@dataclasses.dataclass
class Row:
    """A tool's runs over one table."""

    name: str
    group: str
    table_rows: int
    command: str = ""
    failure: str | None = None
    check: str | None = None
    runs: list = dataclasses.field(default_factory=list)
    ratios: list = dataclasses.field(default_factory=list)


def _number(value, digits=1, scale=1):
    return "-" if value is None else f"{value / scale:,.{digits}f}"


def _median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def _transfers(rows):
    lines = [
        "| Tool | wall s | krows/s | vs COPY | client CPU s | server CPU s | peak RSS MB | output MB | check |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if not row["runs"]:
            lines.append(f"| {row['name']} | - | - | - | - | - | - | - | {row['failure']} |")
            continue
        median = {field: _median([run[field] for run in row["runs"]]) for field in row["runs"][0]}
        wall = median["wall"]
        # Rows written, as far as a tool reports them; what COPY sends is the whole table.
        speed = _number(row["table_rows"] / wall, 0, 1000)
        check = row["failure"] or row["check"] or "-"
        cells = [
            row["name"], _number(wall, 2), speed, _number(_median(row["ratios"]), 2), _number(median["cpu"], 2),
            _number(median["server_cpu"], 2), _number(median["peak_rss"], 0, 1e6),
            _number(median["output_bytes"], 0, 1e6), check,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _memory(rows):
    lines = ["| rows | slices | peak RSS MB | wall s | |", "|---|---|---|---|---|"]
    for row in rows:
        peak, wall = _number(row.get("peak_rss"), 0, 1e6), _number(row.get("wall"), 2)
        lines.append(f"| {row['rows']:,} | {row['slices']} | {peak} | {wall} | {row['failure'] or ''} |")
    return lines


def _submit(rows):
    lines = ["| accepted | refused | per second | p50 ms | p99 ms | max ms | tasks counted after |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        at = row["milliseconds"]
        lines.append(
            f"| {row['accepted']:,} | {row['refused']} | {row['accepted'] / row['seconds']:,.0f} | {at['p50']:.1f} |"
            f" {at['p99']:.1f} | {at['max']:.1f} | {_number(row['still_queued'], 0)} |"
        )
    return lines


def _watchers(rows):
    lines = ["| | wall s | slower % | client CPU s | peak RSS MB |", "|---|---|---|---|---|"]
    for row in rows:
        median = {field: _median([run[field] for run in row["runs"]]) for field in row["runs"][0]}
        lines.append(
            f"| {row['name']} | {_number(median['wall'], 2)} | {_number(row.get('slower'), 1, 0.01)} |"
            f" {_number(median['cpu'], 2)} | {_number(median['peak_rss'], 0, 1e6)} |"
        )
    return lines


def _idle(rows):
    lines = ["| start to first answer, ms | idle RSS MB |", "|---|---|"]
    return lines + [f"| {row['start_ms']:.0f} | {row['rss'] / 1e6:.1f} |" for row in rows]


def _queue(rows):
    """`worker`: what a worker is busy with a task, so that nothing that runs beside it hides. `agent`: that
    without the answers of the double."""
    lines = [
        "| tasks | workers | span s | span ms/task | worker ms/task | answers ms/task | agent ms/task |"
        " agent CPU ms/task | statements/task | peak RSS MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        tasks = row["tasks"]
        span, busy = 1000 * row["span"] / tasks, 1000 * row["busy"] / tasks
        worker = span * row["workers"]
        statements = sum(row["statements"].values()) / tasks
        lines.append(
            f"| {tasks} | {row['workers']} | {row['span']:.2f} | {span:.1f} | {worker:.1f} | {busy:.1f} |"
            f" {worker - busy:.1f} | {1000 * row['cpu'] / tasks:.1f} | {statements:.2f} |"
            f" {_number(row['peak_rss'], 0, 1e6)} |"
        )
    kinds = [f"{kind} {count}" for kind, count in sorted(rows[0]["statements"].items())] if rows else []
    return lines + ["", "Statements of the first round: " + ", ".join(kinds) + "."]


TABLES = {
    "transfers": _transfers,
    "memory": _memory,
    "submit": _submit,
    "watchers": _watchers,
    "idle": _idle,
    "queue": _queue,
}


def section(content):
    lines = [f"### {content['title']}", ""]
    if content.get("failure"):
        return "\n".join([*lines, f"Not measured: {content['failure']}"])
    lines += TABLES[content["kind"]](content["rows"])
    commands = {row.get("name"): row["command"] for row in content["rows"] if row.get("command")}
    if content["kind"] == "memory":
        commands = {f"{row['rows']:,} rows, {row['slices']}": row["command"] for row in content["rows"] if row.get("command")}
    if commands:
        lines += ["", "Commands:", ""]
        lines += [f"- {name + ': ' if name else ''}`{command}`" for name, command in commands.items()]
    lines += [f"- {note}" for note in content.get("notes", [])]
    return "\n".join(lines)


def document(result):
    machine = result["machine"]
    server = "a private server" if machine["private_server"] else "a given server"
    head = [
        f"Made by `{machine['command']}` on {machine['date']}: {machine['cores']} cores ({machine['processor']}),"
        f" Linux {machine['kernel']}, PostgreSQL {machine['postgresql']} ({server}, loopback TCP without TLS, same cores),"
        f" agent: {machine['agent'] or 'not built'}. Load before: {machine['load_before']}.",
    ]
    return "\n\n".join(head + [section(content) for content in result["sections"]])


def as_json(result):
    return json.dumps(result, indent=2, default=str)


def save(folder, markdown, json_text):
    os.makedirs(folder, exist_ok=True)
    for name, text in (("benchmark.md", markdown), ("benchmark.json", json_text)):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text + "\n")


def is_good(result):
    """Whether every figure of the agent is there and its files equal the database."""
    for content in result["sections"]:
        if content.get("failure"):
            return False
        for row in content["rows"]:
            if row.get("failure") and (content["kind"] == "memory" or row["group"] in ("agent", "copy")):
                return False
            if row.get("group") == "agent" and row.get("check") not in (None, "equal"):
                return False
    return True
