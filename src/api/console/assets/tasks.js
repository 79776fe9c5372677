// All tasks: figures, rates, a list with live progress.

import { call, get, isOfParameter, poll, taskPath } from "./api.js";
import { rateChart } from "./chart.js";
import { empty, fill, fillKeyed, fillWhenChanged, h, once, row, setText, table, toast } from "./dom.js";
import { ago, bytes, compact, count, duration, rowRate, rows as rowsText, time } from "./format.js";

const STATES = ["queued", "running", "completed", "failed", "cancelled"];
const PAGE = 25;
/** What the chart shows. */
const CHART_SECONDS = 600;

/** A state as a word with a sign of its own, so that colour alone says nothing. */
export function badge(state) {
  const signs = { queued: "○", running: "▶", completed: "✓", failed: "✕", cancelled: "⊘", released: "↺", interrupted: "↯" };
  return h("span", { class: `badge badge-${state}` }, h("span", { "aria-hidden": "true" }, signs[state] ?? "•"), ` ${state}`);
}

/** What a task reads, in one line. */
export function sourceText(request) {
  const { query, table: name } = request.source_config;
  return (query ?? name ?? "").replace(/\s+/g, " ").trim();
}

/** Where it goes, in one line. */
export function targetText(request) {
  const { type, connection, path, stage } = request.destination_config;
  return `${connection ?? type}: ${stage ?? path ?? ""}`;
}

/** Buttons that start and stop the handling of tasks. */
export function handlingSwitch({ can, signal }, changed) {
  const words = h("span", { class: "handling" });
  const button = h("button", { type: "button", class: "quiet", hidden: true });
  let isHandling;
  // An answer that was on its way when the switch was used is older than what the switch shows.
  let uses = 0;
  button.addEventListener("click", () => once(button, async () => {
    try {
      const answer = await call("POST", isHandling ? "/stop" : "/handle_tasks", { signal });
      uses += 1;
      show(answer.handling_tasks);
      toast(answer.handling_tasks ? "Tasks are handled again." : "No other task is started. Running ones end.");
      changed?.();
    } catch (error) {
      toast(error.message);
    }
  }));
  const show = (handling) => {
    isHandling = handling;
    fillWhenChanged(words, handling, () => [
      h("span", { class: handling ? "dot dot-good" : "dot dot-warning", "aria-hidden": "true" }),
      handling ? " Handling tasks" : " Stopped: submitted tasks wait"]);
    setText(button, handling ? "Stop handling" : "Start handling");
    button.hidden = !can("operate");
  };
  /** To be taken before the agent is asked; shows what it has answered. */
  const ask = () => {
    const before = uses;
    return (handling) => before === uses && show(handling);
  };
  return { element: h("div", { class: "switch" }, words, button), ask };
}

export function showTasks(main, context) {
  const { query, signal, can } = context;
  const status = STATES.includes(query.get("status")) ? query.get("status") : null;
  const cursor = query.get("cursor");
  const chart = rateChart(signal, { title: "Rates of the last ten minutes", seconds: CHART_SECONDS });
  const control = handlingSwitch(context, () => look());
  const figures = h("dl", { class: "figures" });
  const filters = h("ul", { class: "filters" });
  const problem = h("p", { class: "notice notice-bad", hidden: true });
  const held = h("p", { class: "notice notice-warning", hidden: true });
  const columns = [
    { title: "Task", isWide: true }, { title: "Status" }, { title: "From and to" },
    { title: "Rows", numeric: true }, { title: "Size", numeric: true },
    { title: "Time", numeric: true }, { title: "Changed", numeric: true }];
  const list = table(status ? `Tasks that are ${status}, newest first` : "Tasks, newest first", columns, { className: "cards" });
  const nothing = h("div", {});
  const pages = h("nav", { class: "pages", "aria-label": "Pages of tasks" });

  fill(main,
    h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Tasks"), control.element,
      can("submit") && h("a", { class: "button primary", href: "#/new" }, "New task")),
    held, figures,
    h("section", { class: "card", "aria-labelledby": "rates" }, h("h2", { id: "rates" }, "Throughput, last ten minutes"), chart.element),
    h("section", { class: "card", "aria-labelledby": "list" },
      h("div", { class: "title" }, h("h2", { id: "list" }, "List"), h("nav", { "aria-label": "Filter by status" }, filters)),
      problem, list.element, nothing, pages));

  const hash = (wanted, place) => {
    const parameters = new URLSearchParams();
    if (wanted) parameters.set("status", wanted);
    if (place) parameters.set("cursor", place);
    const text = parameters.toString();
    return `#/tasks${text && `?${text}`}`;
  };

  const showCounts = (counts, workers) => {
    fillWhenChanged(figures, [counts, workers], () => [
      figure("Workers busy", workers ? `${workers.busy} of ${workers.total}` : "–"),
      figure("Waiting", count(counts.queued)), figure("Running", count(counts.running)),
      figure("Completed", count(counts.completed)),
      figure("Failed", count(counts.failed), counts.failed > 0 && "bad")]);
    fillKeyed(filters, [null, ...STATES], (state) => state ?? "all",
      (state) => h("li", {}, h("a", { href: hash(state), "aria-current": state === status ? "true" : undefined },
        state === null ? "all" : state, " ", h("span", { class: "count" }))),
      (element, state) => setText(element.querySelector(".count"),
        count(state === null ? STATES.reduce((sum, name) => sum + counts[name], 0) : counts[state])));
  };

  const showPage = ({ tasks, next_cursor: next }) => {
    list.element.hidden = tasks.length === 0;
    fillKeyed(list.body, tasks, (task) => task.id, () => taskRow(columns), updateRow);
    fillWhenChanged(nothing, [tasks.length, status, cursor], () => {
      if (tasks.length > 0) return [];
      if (cursor) return empty("There is nothing on this page", h("a", { href: hash(status) }, "Go to the newest tasks"));
      if (status) return empty(`No task is ${status}`, h("a", { href: hash(null) }, "Show all tasks"));
      return can("submit")
        ? empty("There are no tasks yet", h("a", { href: "#/new" }, "Submit the first one"), " here, or send it to ", h("code", {}, "POST /tasks"), ".")
        : empty("There are no tasks yet", "They appear here as soon as somebody submits one.");
    });
    fillWhenChanged(pages, [cursor, next], () => [
      cursor && h("a", { class: "button", href: hash(status) }, "Newest"),
      next && h("a", { class: "button", href: hash(status, next) }, "Older")]);
  };

  let workers = null;
  const look = poll(signal, 2000, async () => {
    const parameters = new URLSearchParams({ limit: PAGE });
    if (status) parameters.set("status", status);
    if (cursor) parameters.set("cursor", cursor);
    const showHandling = control.ask();
    const [page, counts, handling] = await Promise.all([
      get(`/tasks?${parameters}`, signal), get("/get_tasks_count", signal), get("/get_handling_tasks_status", signal)]);
    problem.hidden = true;
    showCounts(counts.tasks_by_status, workers);
    showPage(page);
    showHandling(handling.handling_tasks);
  }, (error) => {
    // The end of an address that was cut, or that somebody has typed.
    if (isOfParameter(error, "cursor")) {
      list.element.hidden = true;
      fillWhenChanged(nothing, "cursor", () => empty("The address leads to no page of this list", h("a", { href: hash(status) }, "Go to the newest tasks")));
      return;
    }
    problem.hidden = false;
    setText(problem, `The tasks cannot be shown: ${error.message}`);
  });

  poll(signal, 10_000, async () => {
    const { ready, reason } = await get("/ready", signal);
    held.hidden = ready;
    setText(held, ready ? "" : `No new task is started: ${reason}`);
  });

  let samples = [];
  poll(signal, 2000, async () => {
    const after = samples.length > 0 ? `?after=${encodeURIComponent(samples.at(-1).at)}` : "";
    const answer = await get(`/throughput${after}`, signal);
    samples = [...samples, ...answer.samples].slice(-900);
    chart.set(samples);
    workers = { busy: answer.workers_busy, total: answer.workers };
  });
}

function figure(term, value, kind) {
  return h("div", { class: kind ? `figure figure-${kind}` : "figure" }, h("dt", {}, term), h("dd", {}, value));
}

function taskRow(columns) {
  const element = row(columns, [
    [h("a", { class: "task-id" }), h("span", { class: "sub sql" }), h("span", { class: "sub trouble" })],
    [h("span", { class: "state" }), h("span", { class: "sub note" })],
    [h("span", { class: "from" }), h("span", { class: "sub to" })],
    [h("span", { class: "rows" }), h("span", { class: "sub rate" })],
    h("span", { class: "size" }), h("span", { class: "took" }), h("time", { class: "changed" })]);
  return element;
}

function updateRow(element, task) {
  const part = (name) => element.querySelector(`.${name}`);
  const link = part("task-id");
  setText(link, task.id);
  link.setAttribute("href", `#${taskPath(task.id)}`);
  setText(part("sql"), sourceText(task.request));
  fillWhenChanged(part("state"), task.status, badge);
  setText(part("note"), note(task));
  const error = ["failed", "queued"].includes(task.status) ? task.attempts.at(-1)?.error : null;
  setText(part("trouble"), error?.message ?? "");
  setText(part("from"), task.request.source_config.database);
  setText(part("to"), targetText(task.request));
  const moved = task.receipt ?? task.progress;
  setText(part("rows"), moved ? compact(moved.rows) : "");
  part("rows").title = moved ? rowsText(moved.rows) : "";
  setText(part("rate"), task.progress ? rowRate(task.progress.rows_per_second) : "");
  setText(part("size"), moved ? bytes(moved.bytes) : "");
  setText(part("took"), task.receipt ? duration(task.receipt.duration_ms) : task.progress ? duration(task.progress.elapsed_ms) : "");
  const changed = part("changed");
  setText(changed, ago(task.updated_at));
  changed.setAttribute("datetime", task.updated_at);
  changed.title = time(task.updated_at);
}

function note(task) {
  if (task.cancel_requested) return "is asked to stop";
  if (task.next_attempt_at) return `next attempt ${ago(task.next_attempt_at)}`;
  const tries = task.attempts.length;
  return tries > 1 ? `attempt ${tries}` : "";
}
