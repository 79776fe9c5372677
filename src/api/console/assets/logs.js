// The lines that the agent logged about a task.

import { get, taskPath } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { clock, time } from "./format.js";

const LEVELS = ["error", "warn", "info", "debug", "trace"];
const STEP = 200;
/** Lines that the page keeps; older ones are in the log of the agent. */
const KEPT = 2000;
const ENDED = ["completed", "failed", "cancelled"];

export function logList({ signal }, id) {
  const level = h("select", { id: "log-level" }, LEVELS.map((name) =>
    h("option", { value: name, selected: name === "info" }, name === "trace" ? "everything" : `${name} and worse`)));
  const attempt = h("select", { id: "log-attempt" }, h("option", { value: "" }, "all attempts"));
  const state = h("p", { class: "muted" });
  const list = h("ol", { class: "log", tabindex: "0", "aria-label": "Log lines, oldest first" });
  const element = h("section", { class: "card", "aria-labelledby": "logs", hidden: true },
    h("div", { class: "title" }, h("h2", { id: "logs" }, "Log"),
      h("div", { class: "inline-fields" },
        h("label", { for: "log-level" }, "Level"), level,
        h("label", { for: "log-attempt" }, "Attempt"), attempt)),
    state, list);

  let cursor = null;
  /** The agent has said that nothing follows. */
  let isWhole = false;
  let isBusy = false;
  let isMissing = false;
  let attempts = 0;
  let timer;
  let task = null;

  const isShown = (line) => LEVELS.indexOf(line.dataset.level) <= LEVELS.indexOf(level.value)
    && (attempt.value === "" || line.dataset.attempt === attempt.value);
  const filter = () => {
    let shown = 0;
    for (const line of list.children) {
      line.hidden = !isShown(line);
      if (!line.hidden) shown += 1;
    }
    list.hidden = shown === 0;
    setText(state, shown > 0 ? "" : list.children.length > 0 ? "No line of this level and attempt. Choose others." : "Nothing was logged about this task yet.");
  };
  level.addEventListener("change", filter);
  attempt.addEventListener("change", filter);

  async function read() {
    if (isBusy || isMissing || signal.aborted) return;
    isBusy = true;
    let isFirst = isWhole;
    if (isWhole) cursor = null;
    isWhole = false;
    try {
      while (!isWhole) {
        const after = cursor === null ? "" : `&after=${encodeURIComponent(cursor)}`;
        const page = await get(taskPath(id, `/logs?limit=${STEP}${after}`), signal);
        element.hidden = false;
        if (isFirst) fill(list);
        isFirst = false;
        const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
        list.append(...page.lines.map(lineOf));
        while (list.children.length > KEPT) list.firstChild.remove();
        filter();
        if (atEnd) list.scrollTop = list.scrollHeight;
        if (page.next === null) isWhole = true;
        else cursor = page.next;
        if (page.lines.length < STEP) break;
      }
    } catch (error) {
      // An agent that keeps no logs has no such route.
      if (error.kind === "unknown-route") isMissing = true;
    }
    isBusy = false;
  }

  return {
    element,
    /** Called with every new state of the task. */
    update(now) {
      const before = task;
      task = now;
      for (; attempts < now.attempts.length; attempts += 1) {
        attempt.append(h("option", { value: attempts + 1 }, `attempt ${attempts + 1}`));
      }
      if (before === null || before.status !== now.status || !ENDED.includes(now.status)) read();
      // The last lines are written a moment after the last state: all of them are read again then.
      if (ENDED.includes(now.status) && before?.status !== now.status) {
        clearTimeout(timer);
        timer = setTimeout(read, 1500);
        signal.addEventListener("abort", () => clearTimeout(timer));
      }
    },
  };
}

function lineOf({ time: at, level, attempt, message, fields }) {
  const name = String(level).toLowerCase();
  const more = Object.entries(fields ?? {}).map(([key, value]) =>
    `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
  return h("li", { data: { level: name, attempt: attempt ?? "" } },
    h("time", { datetime: at, title: time(at) }, clock(new Date(at))), " ",
    h("span", { class: `level level-${name}` }, name), " ",
    h("span", { class: "message" }, message), more && [" ", h("span", { class: "muted" }, more)]);
}
