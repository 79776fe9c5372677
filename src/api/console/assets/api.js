// The console is a client of the API like any other: this is all of it that talks.

/** A problem document of the API. */
export class Problem extends Error {
  constructor(status, document) {
    // Fields of a form say it themselves; nothing on a page is named like a parameter of an address.
    const parameters = (document.errors ?? []).filter((error) => error.parameter);
    super(parameters.length > 0 ? parameters.map((error) => `${error.parameter}: ${error.detail}`).join("; ")
      : document.detail ?? `The agent answered with status ${status}.`);
    this.status = status;
    this.kind = (document.type ?? "").split(":").pop();
    this.title = document.title ?? "The request failed";
    this.errors = document.errors ?? [];
  }
}

/** Whether a request was refused because of this part of its address. */
export const isOfParameter = (problem, name) => (problem.errors ?? []).some((error) => error.parameter === name);

/** Nobody answers. */
export class Unreachable extends Error {
  constructor() {
    super("The agent does not answer. Is it running, and is the network up?");
  }
}

/** Told when a request was refused because nobody is signed in, whether the agent answers, and whether it takes no more for now. */
export const listeners = { signedOut: () => {}, reachable: () => {}, limited: () => {} };

/** How much slower than usual the page asks: the agent limits how many requests it takes from one person. */
const pace = { factor: 1, until: 0 };
const SLOWEST = 16;
/** Longest wait for an answer, in milliseconds. What takes longest is a preview, which ends after 20 seconds. */
const PATIENCE = 30_000;

const limited = (answer) => {
  const seconds = Math.max(1, Number(answer.headers.get("retry-after")) || 5);
  // Whatever waits does not come back in one moment.
  const wait = seconds * 1000 * (1 + Math.random());
  if (Date.now() >= pace.until) pace.factor = Math.min(pace.factor * 2, SLOWEST);
  pace.until = Math.max(pace.until, Date.now() + wait);
  listeners.limited(Math.ceil(wait / 1000));
  setTimeout(() => Date.now() >= pace.until && listeners.limited(0), wait + 1000);
  return wait;
};

const pause = (milliseconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, milliseconds);
  signal?.addEventListener("abort", () => {
    clearTimeout(timer);
    reject(signal.reason);
  });
});

/** Sends a request; returns the JSON of the answer. What only reads waits when the agent takes no more for now. */
export async function call(method, path, { body, signal } = {}) {
  const headers = { accept: "application/json", "x-console": "1" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const late = AbortSignal.timeout(PATIENCE);
  let response, text;
  try {
    response = await fetch(path, {
      method, headers, credentials: "same-origin", redirect: "error", cache: "no-store",
      signal: signal ? AbortSignal.any([signal, late]) : late,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    listeners.reachable(false);
    throw new Unreachable();
  }
  listeners.reachable(true);
  if (response.status === 429) {
    const wait = limited(response);
    if (method === "GET") {
      await pause(wait, signal);
      return call(method, path, { body, signal });
    }
  } else {
    pace.factor = Math.max(1, pace.factor * 0.98);
  }
  const answer = parse(text);
  // The state of an agent that is not well comes with an error status, and is what was asked for.
  if (response.ok || (response.status === 503 && ["/health", "/ready"].includes(path) && answer?.type === undefined)) return answer;
  if (response.status === 401 && path !== "/console/session") listeners.signedOut();
  throw new Problem(response.status, answer ?? {});
}

function parse(text) {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

export const get = (path, signal) => call("GET", path, { signal });

/** The path of a task; `rest` is what follows. */
export const taskPath = (id, rest = "") => `/tasks/${encodeURIComponent(id)}${rest}`;

/**
 * Runs `work` now and then every `interval` milliseconds, until `signal` aborts; not while nobody
 * looks. What `work` throws is passed to `failed`.
 */
export function poll(signal, interval, work, failed = () => {}) {
  let timer;
  let isBusy = false;
  const look = async () => {
    clearTimeout(timer);
    if (isBusy || signal.aborted) return;
    isBusy = true;
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) failed(error);
    }
    isBusy = false;
    if (!signal.aborted && !document.hidden) timer = setTimeout(look, Math.max(interval * pace.factor, pace.until - Date.now()));
  };
  document.addEventListener("visibilitychange", () => document.hidden || look(), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  look();
  return look;
}
