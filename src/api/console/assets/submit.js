// A form that makes a task, with a look at what it will read.

import { call, get, taskPath } from "./api.js";
import { announce, fill, h, once, setText, toast } from "./dom.js";
import { readNames, writeNames } from "./format.js";
import { previewOf, wordsOf } from "./preview.js";

/** The field of the form for a place in the body of the request. */
const FIELD_OF = {
  "/id": "id", "/max_attempts": "max_attempts", "/timeout": "timeout", "/priority": "priority",
  "/source_config/database": "database", "/source_config/query": "query", "/source_config/table": "table",
  "/source_config/columns": "columns", "/source_config/slices": "slices",
  "/source_config/slice_column": "slice_column", "/source_config/method": "method", "/source_config/batch_size": "batch_size",
  "/destination_config/type": "target", "/destination_config/connection": "target",
  "/destination_config/path": "path", "/destination_config/stage": "stage",
  "/destination_config/format": "format", "/destination_config/compression": "compression",
  "/destination_config/max_file_size": "max_file_size",
  "/destination_config/load": "load_table", "/destination_config/load/table": "load_table",
  "/destination_config/load/mode": "load_mode", "/destination_config/load/keys": "load_keys",
};

const COMPRESSIONS = { parquet: ["zstd", "snappy", "gzip", "none"], csv: ["gzip", "zstd", "none"] };

export function showSubmit(main, context) {
  const place = h("div", {});
  fill(main, h("h1", { tabindex: "-1" }, "New task"), place);
  const from = context.query.get("from");
  // A task that is no longer there is no reason to show no form.
  const model = from ? get(taskPath(from), context.signal).catch((missing) => ({ missing })) : null;
  Promise.all([get("/connections", context.signal), model]).then(
    ([connections, copied]) => fill(place,
      copied?.missing && h("p", { class: "notice notice-warning" }, `The task ${from} cannot be taken as a pattern: ${copied.missing.message}`),
      ["source", "target"].filter((end) => connections[`${end}s`].length === 0).map((end) =>
        h("p", { class: "notice notice-bad" }, `This agent has no ${end} connection that this key may use: add [connections.${end}.NAME] to its configuration.`)),
      formOf(context, connections, copied?.request)),
    (error) => context.signal.aborted || fill(place, h("p", { class: "notice notice-bad" }, `The form needs the names of the connections: ${error.message}`)));
}

/** A labelled field with help and a place for what is wrong. */
function field(id, label, control, help) {
  // What is wrong is heard first.
  const described = [`${id}-error`, help && `${id}-help`].filter(Boolean).join(" ");
  control.id = id;
  control.setAttribute("name", id);
  control.setAttribute("aria-describedby", described);
  return h("div", { class: "field", data: { field: id } },
    h("label", { for: id }, label), control,
    help && h("p", { class: "help", id: `${id}-help` }, help),
    h("p", { class: "field-error", id: `${id}-error` }));
}

const input = (attributes = {}) => h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
const select = (options, chosen) => h("select", {}, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
const check = (id, label, isChecked) => h("div", { class: "check" },
  h("input", { type: "checkbox", id, name: id, checked: isChecked }), h("label", { for: id }, label));

function formOf({ signal, go }, connections, model) {
  const source = model?.source_config ?? {};
  const target = model?.destination_config ?? {};
  const load = target.load ?? {};
  // It gets the focus, and then a screen reader says what is in it: an alert would be heard twice, a group
  // with a name not as a whole.
  const summary = h("div", { class: "notice notice-bad", id: "problems", tabindex: "-1", hidden: true });
  // No live region: a screen reader would read all cells of the table.
  const preview = h("div", {});
  const old = h("p", { class: "notice notice-warning", id: "preview-old", hidden: true },
    "Preview again: the form asks for something else by now, and this is what it asked for before.");
  /** What the preview is of. */
  let previewed = null;
  const json = h("pre", { class: "code", tabindex: "0", "aria-label": "The request as JSON" });
  const chosenTarget = connections.targets.find((one) => one.name === (target.connection ?? target.type))?.name;
  const radio = (value, label) => h("div", { class: "check" },
    h("input", { type: "radio", name: "read", id: `read-${value}`, value, checked: (value === "table") === Boolean(source.table) }),
    h("label", { for: `read-${value}` }, label));

  const form = h("form", { novalidate: true, class: "task-form" },
    summary,
    h("fieldset", { class: "card" }, h("legend", {}, "What to read"),
      field("database", "Source connection", select(connections.sources.map((one) =>
        [one.name, [one.name, [one.sql, one.database].filter(Boolean).join(", ")].filter(Boolean).join(" – ")]), source.database)),
      h("div", { class: "choices", role: "radiogroup", "aria-label": "Read a query or a table" }, radio("query", "A query"), radio("table", "A table or view")),
      field("query", "Query", h("textarea", { rows: 7, spellcheck: "false", class: "mono" }, source.query ?? ""),
        "One statement that only reads."),
      field("table", "Table or view", input({ value: source.table }), "name or schema.name, in double quotes where the name needs them."),
      h("div", { class: "actions" },
        h("button", { type: "button", id: "preview", onclick: (event) => once(event.currentTarget, showPreview) }, "Preview columns and rows")),
      old, preview),
    h("fieldset", { class: "card" }, h("legend", {}, "Where it goes"),
      h("div", { class: "grid" },
        field("target", "Target connection", select(connections.targets.map((one) => [one.name, `${one.name} – ${one.type}`]), chosenTarget)),
        field("path", "Path", input({ value: target.path }), "A directory or key prefix below the root of the connection."),
        field("stage", "Stage", input({ value: target.stage }), "With a path on it: @db.schema.stage/path/"),
        field("format", "Format", select([["parquet", "Parquet"], ["csv", "CSV"]], target.format ?? connections.default_format)),
        field("compression", "Compression", select([["", "as configured"]], ""))),
      h("details", { id: "load", open: Boolean(load.table) }, h("summary", {}, "Load the files into a table"),
        h("div", { class: "grid" },
          field("load_table", "Table", input({ value: load.table }), "Empty: the files stay on the stage."),
          field("load_mode", "Mode", select([["append", "append to its rows"], ["replace", "replace its rows"], ["merge", "merge by keys"]], load.mode ?? "append")),
          field("load_keys", "Keys", input({ value: writeNames(load.keys ?? []) }), "For merge: columns that name a row, separated by commas.")),
        check("load_create", "Make the table when it is missing", load.create ?? true),
        check("load_evolve", "Add missing columns, widen narrow ones", load.evolve ?? true),
        check("load_purge", "Remove the files from the stage afterwards", load.purge ?? false))),
    h("details", { class: "card", id: "more", open: Boolean(model) }, h("summary", {}, "More: slices, limits, priority, name"),
      h("div", { class: "grid" },
        field("slices", "Slices", input({ value: source.slices, inputmode: "numeric" }), "Parallel connections, 1 to 64."),
        field("slice_column", "Slice column", input({ value: source.slice_column }), "Its ranges divide a query into slices."),
        field("columns", "Columns", input({ value: writeNames(source.columns ?? []) }), "Only these, in this order, separated by commas; in double quotes where a name has one."),
        field("method", "Read with", input({ value: source.method, placeholder: "auto" }), "native, odbc, or a bulk utility such as bcp; empty: as the connection says."),
        field("batch_size", "Rows of a batch", input({ value: source.batch_size, inputmode: "numeric" })),
        field("max_file_size", "Size of a file", input({ value: target.max_file_size, placeholder: "256MiB" }), "About; then the next one begins."),
        field("max_attempts", "Attempts at most", input({ value: model?.max_attempts, inputmode: "numeric", placeholder: "3" })),
        field("timeout", "Time limit of an attempt", input({ value: model?.timeout, placeholder: "none" }), "Such as 90s, 30m, 2h."),
        field("priority", "Priority", input({ value: model?.priority, inputmode: "numeric", placeholder: "0" }), "-1000 to 1000; higher runs first."),
        field("id", "Name of the task", input({ placeholder: "made by the agent" }), "Letters, digits, dot, underscore and hyphen. The same name twice is the same task."))),
    h("details", { class: "card" }, h("summary", {}, "As JSON, for POST /tasks"), json),
    h("div", { class: "actions main-actions" }, h("button", { class: "primary" }, "Submit task")));

  const controls = form.elements;
  const value = (name) => controls[name].value.trim();
  const list = (name) => readNames(value(name));
  const kind = () => connections.targets.find((one) => one.name === controls.target.value)?.type;
  // A text that is no number goes as it is, so that the agent says what is allowed.
  const number = (text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : text || undefined);

  const sourceConfig = () => without({
    database: controls.database.value,
    ...(controls.read.value === "table" ? { table: value("table") } : { query: controls.query.value }),
    columns: list("columns").length > 0 ? list("columns") : undefined,
    slices: number(value("slices")), slice_column: value("slice_column") || undefined,
    method: value("method") || undefined, batch_size: number(value("batch_size")),
  });
  const previewConfig = () => {
    const { database, query, table, columns } = sourceConfig();
    return without({ database, query, table, columns });
  };
  const body = () => {
    const isStage = kind() === "snowflake_stage";
    return without({
      id: value("id") || undefined,
      source_config: sourceConfig(),
      destination_config: without({
        type: kind(), connection: controls.target.value || undefined,
        ...(isStage ? { stage: value("stage") } : { path: value("path") }),
        format: controls.format.value, compression: controls.compression.value || undefined,
        max_file_size: number(value("max_file_size")),
        load: isStage && value("load_table") ? without({
          table: value("load_table"), mode: controls.load_mode.value,
          keys: list("load_keys").length > 0 ? list("load_keys") : undefined,
          create: controls.load_create.checked, evolve: controls.load_evolve.checked, purge: controls.load_purge.checked,
        }) : undefined,
      }),
      max_attempts: number(value("max_attempts")), timeout: number(value("timeout")), priority: number(value("priority")),
    });
  };

  const adapt = () => {
    const part = (name) => form.querySelector(`[data-field="${name}"]`);
    const isTable = controls.read.value === "table";
    part("query").hidden = isTable;
    part("table").hidden = !isTable;
    const isStage = kind() === "snowflake_stage";
    part("path").hidden = isStage;
    part("stage").hidden = !isStage;
    form.querySelector("#load").hidden = !isStage;
    const names = COMPRESSIONS[controls.format.value] ?? [];
    const chosen = controls.compression.dataset.format === controls.format.value ? controls.compression.value : target.compression;
    if (controls.compression.dataset.format !== controls.format.value) {
      fill(controls.compression, [["", "as configured"], ...names.map((name) => [name, name])].map(([option, text]) =>
        h("option", { value: option, selected: option === chosen }, text)));
      controls.compression.dataset.format = controls.format.value;
    }
    setText(json, JSON.stringify(body(), null, 2));
    showAge();
  };
  /** Rows of another query are marked as such; why another query could not be read is no news. */
  const showAge = () => {
    const isOld = previewed !== null && previewed !== JSON.stringify(previewConfig());
    if (isOld && preview.querySelector("table") === null) fill(preview);
    const isMarked = isOld && preview.firstChild !== null;
    if (isMarked && old.hidden) announce("The preview is old: preview again.");
    old.hidden = !isMarked;
    preview.className = isMarked ? "old" : "";
  };
  form.addEventListener("input", adapt);
  form.addEventListener("change", adapt);
  adapt();

  const showProblem = (problem) => {
    clearProblem();
    const links = problem.errors.map(({ pointer, detail }) => {
      const id = FIELD_OF[pointer] ?? FIELD_OF[pointer.replace(/\/\d+$/, "")];
      const control = id && controls[id];
      if (!control) return h("li", {}, `${pointer}: ${detail}`);
      control.setAttribute("aria-invalid", "true");
      setText(form.querySelector(`#${id}-error`), detail);
      const enclosing = control.closest("details");
      if (enclosing) enclosing.open = true;
      const name = form.querySelector(`label[for="${id}"]`).textContent;
      return h("li", {}, h("a", { href: `#${id}`, onclick: (event) => { event.preventDefault(); control.focus(); } }, `${name}: ${detail}`));
    });
    summary.hidden = false;
    fill(summary, h("p", {}, h("strong", {}, problem.title ?? "The task was not accepted"), links.length > 0 ? "" : `: ${problem.message}`), links.length > 0 && h("ul", {}, links));
    summary.focus();
  };
  const clearProblem = () => {
    summary.hidden = true;
    fill(summary);
    for (const element of form.querySelectorAll("[aria-invalid]")) element.removeAttribute("aria-invalid");
    for (const element of form.querySelectorAll(".field-error")) setText(element, "");
  };

  async function showPreview() {
    clearProblem();
    const asked = previewConfig();
    previewed = null;
    showAge();
    fill(preview, h("p", { class: "muted" }, "Reading the first rows …"));
    // The same sentence is said again, and a quick answer is not worth two.
    announce("");
    const slow = setTimeout(() => announce("Reading the first rows."), 1000);
    try {
      const answer = await call("POST", "/preview", { signal, body: { source_config: asked, rows: 20 } });
      fill(preview, previewOf(answer));
      announce(`${wordsOf(answer)} The table follows the button.`);
    } catch (problem) {
      if (signal.aborted) return;
      const isOfFields = problem.errors?.length > 0;
      fill(preview, isOfFields ? [] : h("p", { class: "notice notice-bad" }, problem.message));
      if (isOfFields) showProblem(problem);
      else announce(`There is no preview: ${problem.message}`);
    } finally {
      clearTimeout(slow);
      // Somebody may have gone on writing meanwhile.
      previewed = JSON.stringify(asked);
      if (!signal.aborted) showAge();
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    once(form.querySelector(".main-actions button"), submitTask);
  });
  async function submitTask() {
    clearProblem();
    try {
      const answer = await call("POST", "/tasks", { body: body() });
      toast(answer.created ? "The task is accepted." : "This task is there already.");
      go(`#${taskPath(answer.id_task)}`);
    } catch (problem) {
      showProblem({ errors: [], title: "The task was not accepted", message: problem.message, ...(problem.errors ? { errors: problem.errors, title: problem.title } : {}) });
    }
  }
  return form;
}

/** An object without the fields that say nothing. */
function without(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
