// Numbers, sizes, durations and times for people.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** 1200000 -> "1,200,000". */
export const count = (value) => whole.format(value);

const steps = (value, base, names) => {
  let step = 0;
  let scaled = value;
  // 999.6 would be written as 1,000 of the smaller unit.
  while (Math.abs(scaled) >= base - 0.5 && step < names.length - 1) {
    scaled /= base;
    step += 1;
  }
  return `${step === 0 && scaled >= 10 ? whole.format(scaled) : short.format(scaled)}${names[step]}`;
};

/** 1234567 -> "1.23 M". */
export const compact = (value) => steps(value, 1000, ["", " k", " M", " G", " T"]);
/** 48211077 -> "48.2 MB". */
export const bytes = (value) => steps(value, 1000, [" B", " kB", " MB", " GB", " TB", " PB"]);
export const rowRate = (value) => `${compact(value)} rows/s`;
export const byteRate = (value) => `${bytes(value)}/s`;
/** 1 -> "1 row". */
export const rows = (value) => `${count(value)} ${value === 1 ? "row" : "rows"}`;

/** Names of columns in one line: commas between them, double quotes around those that need them. */
export const writeNames = (names) => names.map((name) => (/[",]|^\s|\s$|^$/.test(name) ? `"${name.replaceAll('"', '""')}"` : name)).join(", ");
/** The same back. */
export function readNames(text) {
  const names = [];
  for (const [, quoted, plain] of text.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,]*))\s*(?:,|$)/g)) {
    const name = quoted === undefined ? plain.trim() : quoted.replaceAll('""', '"');
    if (name !== "") names.push(name);
  }
  return names;
}

/** Milliseconds -> "1 h 2 min", "3 min 4 s", "5.3 s", "12 ms". */
export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const total = Math.round(seconds);
  if (total < 60) return `${total} s`;
  const minutes = Math.floor(total / 60);
  if (minutes < 60) return `${minutes} min ${total % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const two = (number) => String(number).padStart(2, "0");

/** "2026-11-20 08:30:14" where the reader is. */
export function time(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(at)}`;
}

/** "08:30:14". */
export const clock = (at) => `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;

/** "3 min ago", "in 20 s". */
export function ago(text, now = Date.now()) {
  const difference = now - new Date(text).getTime();
  const seconds = Math.round(Math.abs(difference) / 1000);
  let words = `${Math.floor(seconds / 86400)} d`;
  if (seconds < 60) words = `${seconds} s`;
  else if (seconds < 3600) words = `${Math.floor(seconds / 60)} min`;
  else if (seconds < 86400) words = `${Math.floor(seconds / 3600)} h`;
  if (difference < 0) return seconds < 1 ? "now" : `in ${words}`;
  return seconds < 5 ? "just now" : `${words} ago`;
}

/** What a kind of fault means to the reader. */
export const faultKinds = {
  transient: "A fault that can pass by itself",
  throttled: "The other side asked to slow down",
  credentials: "The credentials were refused",
  permission: "A right is missing",
  request: "The task asks for something that cannot be",
  data: "A value does not fit the output",
  bug: "A defect of the agent",
};

/** What to do where the fault itself does not say. */
export const adviceFor = {
  transient: "Look at the connection on the page Agent. Once it is back, retry the task.",
  throttled: "Run fewer tasks at the same time, or raise the limit of the other side. Then retry the task.",
  request: "Correct it: “New task like this” opens a form with everything in it, and a preview.",
  data: "Cast the value in the query, for example to text: “New task like this” opens a form with it.",
  bug: "Retry the task. When it fails again, report it with the log of the attempt.",
};
