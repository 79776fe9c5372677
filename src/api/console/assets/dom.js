// Elements are made here, and texts get into them as texts only: nothing in the console reads HTML.

/** Makes an element. `attributes` may hold `on<event>` handlers and `data` for data attributes. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter(isThere));
  return element;
}

const isThere = (child) => child !== undefined && child !== null && child !== false;

/** Replaces what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter(isThere));
  return element;
}

/** Sets a text only when it is another one, so that screen readers and selections are left in peace. */
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Draws a part of the page again only when `data` has changed. */
export function fillWhenChanged(element, data, draw) {
  const state = JSON.stringify(data);
  if (element.drawnFrom === state) return;
  element.drawnFrom = state;
  fill(element, draw(data));
}

/** Keeps one child for each item, in order; those that stay keep focus and selection. */
export function fillKeyed(parent, items, keyOf, make, update) {
  const known = parent.keyed ?? new Map();
  const wanted = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    const element = known.get(key) ?? make(item);
    update(element, item);
    wanted.set(key, element);
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
  }
  for (const [key, element] of known) if (!wanted.has(key)) element.remove();
  parent.keyed = wanted;
}

/**
 * A table with a caption. `columns` are `{title, numeric, isWide}`; a wide one has a line of its own on a
 * narrow screen. The roles are written out because a narrow screen shows rows as cards, and some browsers
 * then forget what a table is.
 */
export function table(caption, columns, { isCaptionHidden = true, className = "" } = {}) {
  const cell = ({ title, numeric }) =>
    h("th", { scope: "col", role: "columnheader", class: numeric ? "number" : undefined }, title);
  const body = h("tbody", { role: "rowgroup" });
  const element = h("table", { role: "table", class: className },
    h("caption", { class: isCaptionHidden ? "hidden" : undefined }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(cell))),
    body);
  return { element, body, columns };
}

/** A row of such a table; `cells` are texts, elements or arrays of them. */
export function row(columns, cells) {
  return h("tr", { role: "row" }, cells.map((content, index) =>
    h("td", {
      role: "cell",
      class: [columns[index].numeric && "number", columns[index].isWide && "wide"].filter(Boolean).join(" ") || undefined,
      data: { label: columns[index].title },
    }, content)));
}

/** Pairs of a term and its value. */
export function pairs(entries, className = "pairs") {
  return h("dl", { class: className }, entries.filter(isThere).map(([term, value]) =>
    h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

/** What an empty place says: that it is empty, and what to do next. */
export function empty(title, ...next) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", {}, next));
}

/**
 * Does `work` of a button unless it is still being done. The button is not disabled meanwhile: one that is
 * loses the focus, and the keyboard would be back at the top of the page.
 */
export async function once(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** Says something to screen readers, without a change that can be seen. */
export function announce(text) {
  setText(document.getElementById("announcer"), text);
}

let toastTimer;
/** Shows and says something for a moment. */
export function toast(text) {
  const element = document.getElementById("toast");
  setText(element, text);
  element.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    element.classList.remove("shown");
    setText(element, "");
  }, 6000);
}
