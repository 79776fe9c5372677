// The agent itself: workers, queue, connections.

import { get, poll } from "./api.js";
import { empty, fill, fillWhenChanged, h, pairs, row, setText, table } from "./dom.js";
import { count, faultKinds } from "./format.js";
import { handlingSwitch } from "./tasks.js";

export function showAgent(main, context) {
  const { signal } = context;
  const control = handlingSwitch(context, () => look());
  const problem = h("p", { class: "notice notice-bad", hidden: true });
  const state = h("div", {});
  const connections = h("div", {});
  fill(main,
    h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Agent"), control.element),
    problem, state, connections,
    h("section", { class: "card", "aria-labelledby": "machines" },
      h("h2", { id: "machines" }, "For machines"),
      h("ul", { class: "plain" },
        h("li", {}, h("a", { href: "/metrics" }, "Figures for Prometheus"), " ", h("code", {}, "/metrics")),
        h("li", {}, h("a", { href: "/openapi.json" }, "Description of the API"), " ", h("code", {}, "/openapi.json")),
        h("li", {}, h("a", { href: "/health" }, "Health as JSON"), " ", h("code", {}, "/health")))));

  // As often as the agent looks at its connections.
  const look = poll(signal, 10_000, async () => {
    const showHandling = control.ask();
    const [health, counts, known] = await Promise.all([
      get("/health", signal), get("/get_tasks_count", signal), get("/connections", signal)]);
    problem.hidden = true;
    showHandling(health.handling_tasks);
    fillWhenChanged(state, [health.status, health.queue, health.workers, health.held, health.version, counts], () => stateOf(health, counts));
    // Not when only the time of a fault is another one: who copies its text would lose the selection.
    const faults = [health.database_faults, health.destination_faults].map((all) =>
      Object.entries(all ?? {}).map(([name, { message, hint }]) => [name, message, hint]));
    fillWhenChanged(connections, [health.database_connections, health.destination_connections, faults, health.unavailable, known],
      () => connectionsOf(health, known));
  }, (error) => {
    problem.hidden = false;
    setText(problem, `The state of the agent cannot be shown: ${error.message}`);
  });
}

function stateOf(health, counts) {
  const { workers } = health;
  const running = Object.entries(workers.running ?? {});
  const isWell = health.status === "healthy";
  const meter = h("meter", { min: 0, max: workers.total, value: workers.busy, id: "workers", "aria-label": `Workers: ${workers.busy} of ${workers.total} are busy` });
  return h("section", { class: "card", "aria-labelledby": "state" },
    h("h2", { id: "state" }, "State"),
    pairs([
      ["Health", isWell ? good("healthy") : bad("unhealthy")],
      ["Queue", health.queue === "ok" ? good("ok") : bad(health.queue)],
      ["Workers", [`${workers.busy} of ${workers.total} busy `, meter]],
      health.held && ["No new task is started", bad(health.held)],
      workers.state !== "ok" && ["Worker pool", bad(workers.state)],
      running.length > 0 && ["Running, by task source", running.map(([name, number]) => `${name}: ${number}`).join(", ")],
      ["Waiting tasks", count(counts.tasks_by_status.queued)],
      ["Version", health.version], ["Process", counts.worker_pid]]));
}

const good = (text) => h("span", { class: "good" }, h("span", { "aria-hidden": "true" }, "✓ "), text);
const bad = (text) => h("span", { class: "bad" }, h("span", { "aria-hidden": "true" }, "✕ "), text);

function connectionsOf(health, known) {
  const kinds = {
    source: Object.fromEntries(known.sources.map((source) => [source.name, [source.sql, source.database].filter(Boolean).join(", ")])),
    target: Object.fromEntries(known.targets.map((target) => [target.name, target.type])),
  };
  const others = Object.entries(health.unavailable ?? {});
  return [
    listOf("Sources", "source", health.database_connections, health.database_faults ?? {}, kinds.source),
    listOf("Targets", "target", health.destination_connections, health.destination_faults ?? {}, kinds.target),
    others.length > 0 && h("section", { class: "card", "aria-labelledby": "unavailable" },
      h("h2", { id: "unavailable" }, "Configured, and not served"),
      pairs(others)),
  ].filter(Boolean);
}

/** Cause and remedy, as on the page of a task that failed. */
function troubleOf({ kind, message, hint }) {
  return [bad(message),
    hint && h("span", { class: "sub remedy" }, h("strong", {}, "What to do: "), hint),
    h("span", { class: "sub" }, faultKinds[kind] ?? kind)];
}

function listOf(title, kind, states, faults, kinds) {
  const columns = [{ title: "Connection" }, { title: "Kind" }, { title: "State", isWide: true }];
  const list = table(`${title} and their state`, columns, { className: "cards connections" });
  for (const [name, state] of Object.entries(states)) {
    list.body.append(row(columns, [name, kinds[name] || "–",
      state === "connected" ? good("connected") : faults[name] ? troubleOf(faults[name]) : bad(state)]));
  }
  const id = `connections-${kind}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title),
    list.body.children.length > 0 ? list.element
      : empty(`No ${kind} is configured`, "Add a section ", h("code", {}, `[connections.${kind}.<name>]`), " to the configuration and restart the agent."));
}
