// Questions before something that cannot be taken back.

import { h } from "./dom.js";

/** Asks; resolves to true when `action` was chosen. The browser keeps the focus inside and gives it back. */
export function confirm({ title, text, action, isDangerous = false }) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text" },
      h("form", { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        h("p", { id: "dialog-text" }, text),
        h("div", { class: "actions" },
          h("button", { value: "no", autofocus: true }, "Keep as it is"),
          h("button", { value: "yes", class: isDangerous ? "danger" : "primary" }, action))));
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
