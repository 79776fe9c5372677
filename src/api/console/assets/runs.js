// The history of attempts, of all task sources, as long as the agent keeps it.

import { get, isOfParameter, poll, taskPath } from "./api.js";
import { empty, fill, fillKeyed, fillWhenChanged, h, row, setText, table } from "./dom.js";
import { bytes, compact, duration, time } from "./format.js";
import { logList } from "./logs.js";
import { badge } from "./tasks.js";

const STATES = ["running", "completed", "failed", "cancelled", "released", "interrupted"];
const PAGE = 50;

export function showRuns(main, context) {
  const { query, signal } = context;
  const status = STATES.includes(query.get("status")) ? query.get("status") : null;
  const task = query.get("task");
  const cursor = query.get("cursor");
  const columns = [
    { title: "Task", isWide: true }, { title: "Attempt" }, { title: "Status" }, { title: "From and to" }, { title: "Rows", numeric: true },
    { title: "Size", numeric: true }, { title: "Time", numeric: true }, { title: "Started" },
    { title: "What went wrong", isWide: true }];
  const list = table("Attempts, newest first", columns, { className: "cards" });
  const problem = h("p", { class: "notice notice-bad", hidden: true });
  const nothing = h("div", {});
  const pages = h("nav", { class: "pages", "aria-label": "Pages of runs" });
  const hash = (wanted, place) => {
    const parameters = new URLSearchParams(Object.entries({ status: wanted, task, cursor: place }).filter(([, value]) => value));
    return `#/runs${parameters.size > 0 ? `?${parameters}` : ""}`;
  };
  const filters = h("ul", { class: "filters" }, [null, ...STATES].map((state) =>
    h("li", {}, h("a", { href: hash(state), "aria-current": state === status ? "true" : undefined }, state ?? "all"))));
  // What the page of a task shows of those that are in this agent's queue.
  const logs = task && logList(context, task);
  fill(main,
    h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Runs")),
    h("p", { class: "muted" }, task ? ["Attempts of the task ", h("strong", {}, task), ". ", h("a", { href: "#/runs" }, "Show all")]
      : "Every attempt of every task, also of those from other queues, as long as the agent keeps them."),
    h("section", { class: "card", "aria-label": "Attempts" }, h("nav", { "aria-label": "Filter by status" }, filters), problem, list.element, nothing, pages),
    logs && logs.element);

  poll(signal, 5000, async () => {
    const parameters = new URLSearchParams({ limit: PAGE });
    for (const [name, value] of Object.entries({ status, task, cursor })) if (value) parameters.set(name, value);
    const page = await get(`/runs?${parameters}`, signal);
    problem.hidden = true;
    list.element.hidden = page.runs.length === 0;
    fillKeyed(list.body, page.runs, (run) => `${run.task_source}/${run.task}/${run.attempt}/${run.started_at}`,
      () => h("tr", { role: "row" }), (element, run) => fillWhenChanged(element, run, () => [...runRow(columns, run).childNodes]));
    fillWhenChanged(nothing, page.runs.length, () => (page.runs.length > 0 ? []
      : status ? empty(`No run is ${status}`, h("a", { href: hash(null) }, "Show them all"))
        : task ? empty("No attempt of this task is on record", "It has not begun here, or its history is no longer kept.")
          : empty("Nothing has run yet", "Runs appear here as soon as a worker takes a task.")));
    fillWhenChanged(pages, [cursor, page.next_cursor], () => [
      cursor && h("a", { class: "button", href: hash(status) }, "Newest"),
      page.next_cursor && h("a", { class: "button", href: hash(status, page.next_cursor) }, "Older")]);
    const newest = page.runs[0];
    if (logs && newest) logs.update({ status: newest.status, attempts: Array(Math.max(...page.runs.map((run) => run.attempt))) });
  }, (error) => {
    if (isOfParameter(error, "cursor")) {
      list.element.hidden = true;
      fillWhenChanged(nothing, "cursor", () => empty("The address leads to no page of this list", h("a", { href: hash(status) }, "Go to the newest runs")));
      return;
    }
    problem.hidden = false;
    setText(problem, error.kind === "unknown-route" ? "This agent keeps no history." : `The runs cannot be shown: ${error.message}`);
  });
}

function runRow(columns, run) {
  // Tasks of other queues are not in this agent's: their runs and their log are all there is.
  const isOwn = run.task_source === "local";
  const place = isOwn ? `#${taskPath(run.task)}` : `#/runs?task=${encodeURIComponent(run.task)}`;
  const name = [h("a", { class: "task-id", href: place }, run.task), !isOwn && h("span", { class: "sub" }, run.task_source)];
  const known = (value, form) => (value === null || value === undefined ? "–" : form(value));
  return row(columns, [
    name, String(run.attempt), badge(run.status),
    [run.source, h("span", { class: "sub" }, run.destination)], known(run.rows, compact), known(run.bytes, bytes),
    known(run.duration_ms, duration), h("time", { datetime: run.started_at }, time(run.started_at)),
    [h("span", { class: "sub" }, run.error?.message ?? ""), run.error?.hint && h("span", { class: "sub" }, h("strong", {}, "What to do: "), run.error.hint)]]);
}
