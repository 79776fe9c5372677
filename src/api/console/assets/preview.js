// Columns and first rows of what a task will read.

import { empty, h, row, table } from "./dom.js";
import { count, rows as rowsText } from "./format.js";

const columnsText = (number) => `${count(number)} ${number === 1 ? "column" : "columns"}`;

/** How many rows there are to see, of how many. */
function rowsOf({ rows, more }) {
  if (rows.length === 0) return "No rows";
  if (rows.length === 1) return more ? "The first row" : "The only row";
  return `${more ? "The first" : "All"} ${rowsText(rows.length)}`;
}

/** What a screen reader is told in place of all cells. */
export const wordsOf = (preview) => `${rowsOf(preview)}, ${columnsText(preview.columns.length)}.`;

export function previewOf(preview) {
  const { columns, rows } = preview;
  const wide = table(rowsOf(preview), columns.map((column) => ({ title: column.name })), { isCaptionHidden: false, className: "preview" });
  const heads = wide.element.querySelectorAll("th");
  columns.forEach((column, index) => heads[index].append(
    h("span", { class: "sub" }, column.source_type), h("span", { class: "sub" }, `${column.type}${column.nullable ? "" : ", never null"}`)));
  for (const values of rows) {
    wide.body.append(row(wide.columns, values.map((value) =>
      value === null ? h("span", { class: "null" }, "null") : value)));
  }
  return [
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Preview" }, wide.element),
    rows.length === 0 && empty("The result has no rows", "The task would write one empty file with these columns."),
  ];
}
