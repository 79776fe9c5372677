// Signing in: the key is sent once and not kept; the browser gets a cookie that scripts cannot read.

import { call } from "./api.js";
import { fill, h, once, setText } from "./dom.js";

/** Shows the form; `done` is called after a successful sign-in. */
export function showSignIn(main, done) {
  const error = h("p", { class: "field-error", id: "key-error", role: "alert" });
  const key = h("input", {
    id: "key", type: "password", autocomplete: "current-password", required: true, maxlength: 1024,
    spellcheck: "false", autocapitalize: "off", "aria-describedby": "key-error key-help",
  });
  const button = h("button", { class: "primary" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    setText(error, "");
    key.removeAttribute("aria-invalid");
    if (key.value === "") {
      setText(error, "Enter an API key.");
      key.setAttribute("aria-invalid", "true");
      key.focus();
      return;
    }
    await once(button, async () => {
      try {
        await call("POST", "/console/session", { body: { key: key.value } });
        key.value = "";
        await done();
      } catch (problem) {
        setText(error, problem.status === 401 ? "The agent does not know this key." : problem.message);
        key.setAttribute("aria-invalid", "true");
        key.select();
        key.focus();
      }
    });
  };
  fill(main, h("section", { class: "card narrow-card", "aria-labelledby": "sign-in-title" },
    h("h1", { id: "sign-in-title", tabindex: "-1" }, "Sign in"),
    h("form", { onsubmit: submit, novalidate: true },
      h("div", { class: "field" },
        h("label", { for: "key" }, "API key"),
        key,
        h("p", { class: "help", id: "key-help" },
          "A key of the section server.api_keys of the agent's configuration. What you can do here follows from its scopes."),
        error),
      h("div", { class: "actions" }, button))));
  key.focus();
}
