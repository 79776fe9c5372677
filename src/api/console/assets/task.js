// One task: what it does now, why it failed, what it left.

import { call, get, listeners, poll, taskPath } from "./api.js";
import { rateChart } from "./chart.js";
import { confirm } from "./dialog.js";
import { announce, empty, fill, fillWhenChanged, h, pairs, row, setText, table, toast } from "./dom.js";
import { adviceFor, ago, byteRate, bytes, count, duration, faultKinds, rowRate, rows, time } from "./format.js";
import { logList } from "./logs.js";
import { badge, targetText } from "./tasks.js";

const ENDED = ["completed", "failed", "cancelled"];
/** Between two sentences about progress to a screen reader, in milliseconds. */
const SPEAK_EVERY = 20_000;

export function showTask(main, context) {
  const { argument: id, signal, can } = context;
  const state = h("span", {});
  const actions = h("div", { class: "actions" });
  const now = progressCard(signal);
  const trouble = h("div", {});
  const receipt = h("div", {});
  const attempts = h("div", {});
  const request = h("div", {});
  const logs = logList(context, id);

  const cancel = h("button", { type: "button", hidden: true, onclick: () => act(cancelTask) }, "Cancel task");
  const retry = h("button", { type: "button", class: "primary", hidden: true, onclick: () => act(retryTask) }, "Retry");
  const copy = h("a", { class: "button", href: `#/new?from=${encodeURIComponent(id)}`, hidden: !can("submit") }, "New task like this");
  actions.append(retry, cancel, copy);

  fill(main,
    h("p", { class: "back" }, h("a", { href: "#/tasks" }, "Tasks")),
    h("div", { class: "title" }, h("h1", { tabindex: "-1", class: "task-title" }, id), state, actions),
    trouble, now.element, receipt, attempts, request, logs.element);

  const act = async (work) => {
    try {
      await work();
    } catch (error) {
      toast(error.message);
    }
  };

  async function cancelTask() {
    const isWanted = await confirm({
      title: "Cancel this task?",
      text: "Its statement is cancelled on the server of the database, and no file becomes visible.",
      action: "Cancel task", isDangerous: true,
    });
    if (!isWanted) return;
    const task = await call("DELETE", taskPath(id));
    show(task);
    toast(task.status === "cancelled" ? "The task is cancelled." : "The task was asked to stop.");
  }

  async function retryTask() {
    show(await call("POST", taskPath(id, "/retry")));
    toast("The task waits for its next attempt.");
    follow();
  }

  const clock = setInterval(() => {
    for (const element of trouble.querySelectorAll(".until")) setText(element, ago(element.dataset.at));
  }, 1000);
  signal.addEventListener("abort", () => clearInterval(clock));

  let last = null;
  let spokenAt = 0;
  // The answer to a request to cancel can come after the event that says that the task is cancelled.
  const isOlder = (task) => {
    if (last === null) return false;
    const [now, before] = [task, last].map((one) => new Date(one.updated_at).getTime());
    return now < before || (now === before && ENDED.includes(last.status) && !ENDED.includes(task.status));
  };
  const show = (task) => {
    if (signal.aborted || isOlder(task)) return;
    document.title = `${task.id}: ${task.status} – Data exchange agent`;
    fillWhenChanged(state, task.status, badge);
    const focused = [cancel, retry].find((button) => button === document.activeElement);
    cancel.hidden = !can("submit") || ENDED.includes(task.status) || task.cancel_requested;
    retry.hidden = !can("submit") || !["failed", "cancelled"].includes(task.status);
    // A button that goes away with the focus on it would send the keyboard back to the top.
    if (focused?.hidden) (retry.hidden ? copy : retry).focus();
    fillWhenChanged(trouble, [task.attempts.at(-1)?.error, task.status, task.next_attempt_at, task.cancel_requested], () => troubleOf(task));
    now.show(task.progress);
    fillWhenChanged(receipt, task.receipt, receiptOf);
    fillWhenChanged(attempts, [task.attempts, task.status], () => attemptsOf(task));
    fillWhenChanged(request, task.request, requestOf);
    logs.update(task);
    speak(task);
    last = task;
  };

  /** Changes are said at once, progress now and then. */
  function speak(task) {
    if (last && last.status !== task.status) {
      const moved = task.receipt ? `: ${rows(task.receipt.rows)}` : "";
      announce(`The task is ${task.status}${moved}.`);
      spokenAt = Date.now();
    } else if (task.progress && Date.now() - spokenAt > SPEAK_EVERY) {
      if (spokenAt > 0) announce(`${rows(task.progress.rows)} read.`);
      spokenAt = Date.now();
    }
  }

  let events = null;
  signal.addEventListener("abort", () => events?.close());
  // A browser has six connections to an agent; pages that nobody looks at leave theirs to others.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) events?.close();
    else if (last && !ENDED.includes(last.status)) follow();
  }, { signal });

  /** Listens to the task until it ends; where no stream can be had, asks again and again. */
  function follow() {
    events?.close();
    events = new EventSource(taskPath(id, "/events"));
    events.addEventListener("task", (event) => {
      show(JSON.parse(event.data));
      if (event.lastEventId === "end") events.close();
    });
    events.addEventListener("open", () => listeners.reachable(true));
    events.addEventListener("error", () => {
      if (signal.aborted) return;
      // Closed by the agent's refusal: with a broken connection the browser tries again by itself, and
      // meanwhile a request of its own tells whether anybody answers.
      if (events.readyState === EventSource.CLOSED) askAgain();
      else get(taskPath(id), signal).then(show, showMissing);
    });
  }

  let isAsking = false;
  function askAgain() {
    if (isAsking) return;
    isAsking = true;
    poll(signal, 2000, async () => show(await get(taskPath(id), signal)), showMissing);
  }

  function showMissing(error) {
    if (error.status !== 404) return;
    fill(main, h("h1", { tabindex: "-1" }, "There is no such task"),
      empty(error.message, h("a", { href: "#/tasks" }, "Go to the tasks"), ". Tasks of other queues are not in this list."));
  }

  get(taskPath(id), signal).then((task) => {
    show(task);
    if (!ENDED.includes(task.status)) follow();
  }, (error) => {
    if (signal.aborted) return;
    if (error.status === 404) showMissing(error);
    else if (error.status !== 401) askAgain();
  });
}

/** The error of the last attempt with its remedy, and what happens next. */
function troubleOf(task) {
  if (task.cancel_requested) return h("p", { class: "notice" }, "The task was asked to stop; it does so at its next safe point.");
  const error = task.attempts.at(-1)?.error;
  if (!error || task.status === "completed" || task.status === "running") return [];
  const waits = task.status === "queued";
  const advice = error.hint ?? (waits ? null : adviceFor[error.kind]);
  return h("section", { class: waits ? "notice notice-warning" : "notice notice-bad", "aria-labelledby": "trouble" },
    h("h2", { id: "trouble" }, waits ? "The last attempt failed" : "Why it failed"),
    h("p", { class: "fault" }, error.message),
    advice && h("p", { class: "remedy" }, h("strong", {}, "What to do: "), advice),
    h("p", { class: "muted" }, `${faultKinds[error.kind] ?? error.kind} · ${time(error.at)}`,
      task.next_attempt_at && [" · next attempt ", h("span", { class: "until", data: { at: task.next_attempt_at } }, ago(task.next_attempt_at))]));
}

/** Live figures, and a chart of what was seen of them since the page was opened. */
function progressCard(signal) {
  const figures = h("div", {});
  const chart = rateChart(signal, { title: "Rates since this page was opened" });
  const element = h("section", { class: "card", "aria-labelledby": "progress", hidden: true },
    h("h2", { id: "progress" }, "Progress"), h("div", { class: "moving", "aria-hidden": "true" }, h("span", {})), figures, chart.element);
  let before = null;
  let samples = [];
  return {
    element,
    show(progress) {
      element.hidden = !progress;
      if (!progress) return;
      const seconds = Math.max(progress.elapsed_ms / 1000, 0.001);
      fillWhenChanged(figures, progress, () => pairs([
        ["Rows read", count(progress.rows)], ["Average rate", rowRate(progress.rows_per_second)],
        ["Rows in finished files", count(progress.rows_encoded)], ["Written", bytes(progress.bytes)],
        ["Average write rate", byteRate(progress.bytes / seconds)], ["Files begun", count(progress.parts)],
        ["Running for", duration(progress.elapsed_ms)]], "pairs big"));
      // Another attempt begins at nothing.
      if (before && before.elapsed_ms > progress.elapsed_ms) before = null;
      const elapsed = before ? (progress.elapsed_ms - before.elapsed_ms) / 1000 : 0;
      if (before && elapsed < 0.5) return;
      if (before) {
        const rate = (name) => Math.max(0, progress[name] - before[name]) / elapsed;
        samples = [...samples, { at: new Date().toISOString(), rows_per_second: rate("rows"), bytes_per_second: rate("bytes") }].slice(-1800);
        chart.set(samples);
      }
      before = progress;
    },
  };
}

function receiptOf(receipt) {
  if (!receipt) return [];
  const columns = [{ title: "File", isWide: true }, { title: "Rows", numeric: true }, { title: "Size", numeric: true }, { title: "SHA-256", isWide: true }];
  const files = table("Files of this task", columns, { className: "cards" });
  for (const file of receipt.files) {
    files.body.append(row(columns, [
      h("code", { class: "wrap" }, file.location), count(file.rows), bytes(file.bytes),
      h("code", { class: "wrap hash" }, file.sha256)]));
  }
  const seconds = Math.max(receipt.duration_ms / 1000, 0.001);
  const { load } = receipt;
  return h("section", { class: "card", "aria-labelledby": "receipt" },
    h("h2", { id: "receipt" }, "Result"),
    pairs([
      ["Rows", count(receipt.rows)], ["Size", bytes(receipt.bytes)], ["Time", duration(receipt.duration_ms)],
      ["Rate", rowRate(receipt.rows / seconds)], ["Files", count(receipt.files.length)], ["Slices", count(receipt.slices)],
      receipt.method && ["Read with", [receipt.method.name, h("span", { class: "sub" }, receipt.method.reason)]]], "pairs big"),
    load && [h("h3", {}, "Loaded into a table"), pairs([
      ["Table", h("code", { class: "wrap" }, load.table)], ["Mode", load.mode], ["Loaded", rows(load.rows_loaded)],
      ["Inserted", rows(load.rows_inserted)], ["Updated", rows(load.rows_updated)], ["Deleted", rows(load.rows_deleted)],
      load.already_loaded && ["On record", "an earlier attempt had loaded them"],
      load.purged && ["Files", "removed from the stage afterwards"]])],
    files.element);
}

function attemptsOf(task) {
  const columns = [{ title: "Attempt" }, { title: "Status" }, { title: "Started" }, { title: "Time", numeric: true }, { title: "What went wrong", isWide: true }];
  const list = table("Attempts, oldest first", columns, { className: "cards" });
  for (const attempt of task.attempts) {
    const took = attempt.finished_at ? duration(new Date(attempt.finished_at) - new Date(attempt.started_at)) : "–";
    list.body.append(row(columns, [
      count(attempt.number), badge(attempt.status), h("time", { datetime: attempt.started_at }, time(attempt.started_at)), took,
      attempt.error ? [h("span", { class: "fault" }, attempt.error.message), attempt.error.hint && h("span", { class: "sub" }, attempt.error.hint)] : "–"]));
  }
  return h("section", { class: "card", "aria-labelledby": "attempts" },
    h("h2", { id: "attempts" }, "Attempts"),
    task.attempts.length > 0 ? list.element : empty("No attempt has begun", "The task waits for a free worker."));
}

function requestOf(request) {
  const { source_config: source, destination_config: target } = request;
  return h("section", { class: "card", "aria-labelledby": "request" },
    h("h2", { id: "request" }, "What was asked for"),
    pairs([
      ["From", source.database], ["To", h("span", { class: "wrap" }, targetText(request))],
      ["Format", [target.format, target.compression].filter(Boolean).join(", ")],
      ["Slices", source.slices ?? "as configured"], ["Attempts at most", request.max_attempts],
      ["Priority", request.priority], request.timeout && ["Time limit", duration(request.timeout * 1000)]]),
    h("pre", { class: "code", tabindex: "0", "aria-label": source.query ? "Query" : "Table" }, source.query ?? source.table),
    h("details", {}, h("summary", {}, "As JSON"),
      h("pre", { class: "code", tabindex: "0", "aria-label": "The task as JSON" }, JSON.stringify(request, null, 2))));
}
