// The frame of the console: who is signed in, which page is shown.

import { call, get, listeners } from "./api.js";
import { announce, h, setText, fill, toast } from "./dom.js";
import { showAgent } from "./agent.js";
import { showRuns } from "./runs.js";
import { showSignIn } from "./sign_in.js";
import { showSubmit } from "./submit.js";
import { showTask } from "./task.js";
import { showTasks } from "./tasks.js";

const main = document.getElementById("main");
const navigation = document.getElementById("navigation");

/** What views get: who uses the page, what they may do, when they are left. */
let session = { sign_in: false, key: null, scopes: [] };
let leaving = new AbortController();
let isFirst = true;

const can = (scope) => session.scopes.includes(scope);

const views = [
  { pattern: /^\/tasks$/, name: "tasks", title: "Tasks", show: showTasks },
  { pattern: /^\/tasks\/([^/]+)$/, name: "tasks", title: "Task", show: showTask },
  { pattern: /^\/new$/, name: "new", title: "New task", show: showSubmit, scope: "submit" },
  { pattern: /^\/runs$/, name: "runs", title: "Runs", show: showRuns },
  { pattern: /^\/agent$/, name: "agent", title: "Agent", show: showAgent },
];

/** The address behind the hash: `#/tasks?status=failed`. */
function address() {
  const text = location.hash.startsWith("#/") ? location.hash.slice(1) : "/tasks";
  const [path, query = ""] = text.split("?");
  return { path, query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function navigate() {
  leaving.abort();
  leaving = new AbortController();
  if (!can("read")) {
    showDoor();
    // What follows a sign-in takes the place of a page that was read.
    isFirst = false;
    return;
  }
  const { path, query } = address();
  const known = views.find((view) => view.pattern.test(path));
  const found = known && (!known.scope || can(known.scope)) ? known : null;
  for (const link of navigation.querySelectorAll("a")) {
    if (link.dataset.view === found?.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (known && !found) {
    setTitle("No access");
    fill(main, h("h1", { tabindex: "-1" }, "This key cannot open this page"),
      h("p", {}, "It needs the scope ", h("code", {}, known.scope), ". ", h("a", { href: "#/tasks" }, "Go to the tasks")));
  } else if (!found) {
    setTitle("Not found");
    fill(main, h("h1", { tabindex: "-1" }, "There is no such page"),
      h("p", {}, h("a", { href: "#/tasks" }, "Go to the tasks")));
  } else {
    const argument = decoded(found.pattern.exec(path)[1] ?? "");
    setTitle(argument || found.title);
    fill(main);
    found.show(main, { argument, query, signal: leaving.signal, can, go });
  }
  // A screen reader begins to read here; the first page begins at its top.
  if (!isFirst) main.querySelector("h1")?.focus();
  isFirst = false;
}

function go(hash) {
  if (location.hash === hash) navigate();
  else location.hash = hash;
}

function setTitle(title) {
  document.title = `${title} – Data exchange agent`;
}

function showDoor() {
  leaving.abort();
  navigation.hidden = true;
  document.getElementById("account").hidden = !session.key;
  if (session.key) {
    setTitle("No access");
    fill(main, h("section", { class: "card narrow-card" }, h("h1", { tabindex: "-1" }, "This key cannot read"),
      h("p", {}, "The console needs a key with the scope ", h("code", {}, "read"), ". Sign out, and in with another one.")));
    return;
  }
  setTitle("Sign in");
  showSignIn(main, async () => {
    await begin();
    // The field that had the focus is gone, and not every screen reader then says what has it.
    announce("You are signed in.");
  });
}

/** Learns who is signed in, and shows what that person can see. */
async function begin() {
  session = await get("/console/session");
  navigation.hidden = !can("read");
  for (const item of navigation.querySelectorAll("[data-scope]")) item.hidden = !can(item.dataset.scope);
  document.getElementById("account").hidden = !session.key;
  setText(document.getElementById("account-name"), session.key ? `Key ${session.key}` : "");
  navigate();
}

document.getElementById("sign-out").addEventListener("click", async () => {
  try {
    await call("DELETE", "/console/session");
  } catch (error) {
    // Without a valid session there is nothing to end.
    if (error.status !== 401) {
      toast(`You are still signed in: ${error.message}`);
      return;
    }
  }
  session = { sign_in: true, key: null, scopes: [] };
  showDoor();
  announce("You are signed out.");
});

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

listeners.signedOut = () => {
  if (session.scopes.length === 0) return;
  session = { sign_in: true, key: null, scopes: [] };
  showDoor();
  announce("The session has ended. Sign in again.");
};

const offline = document.getElementById("offline");
listeners.reachable = (isReachable) => {
  if (offline.hidden === isReachable) return;
  offline.hidden = isReachable;
  setText(offline, isReachable ? "" : "The agent does not answer. What you see is old; the page tries again by itself.");
};

const limited = document.getElementById("limited");
listeners.limited = (seconds) => {
  if (seconds === 0 && limited.hidden) return;
  limited.hidden = seconds === 0;
  setText(limited, seconds === 0 ? "" : "The agent takes no more requests of this page for now (server.requests_per_minute). What you see may be old; the page asks again by itself, and less often.");
};

addEventListener("hashchange", navigate);

async function start() {
  try {
    await begin();
  } catch {
    fill(main, h("section", { class: "card narrow-card" },
      h("h1", {}, "The agent does not answer"),
      h("p", {}, "The page tries again every few seconds.")));
    setTimeout(start, 3000);
  }
}
start();
