// What people do with the console, in a real browser: `node console.mjs <scenario> <address of the agent>`.
//
// A line `@<word>` on the standard output asks the test that has started this to do something: to open the
// gate at which a query waits, for example.

import assert from "node:assert/strict";
import path from "node:path";

import { ask, assertAccessible, close, eventually, field, hasFocus, launch, open, says, settle, status, tabTo } from "./browser.mjs";
import { hardships } from "./hardships.mjs";

const [, , scenario, address] = process.argv;
const text = (page, selector) => page.locator(selector).innerText();

const scenarios = {
  ...hardships,

  /** A form is filled in, shows what it will read, and the task is watched to its end. */
  async submit(browser) {
    const page = await open(browser);
    await page.goto(`${address}/`);
    await page.getByText("There are no tasks yet").waitFor();
    await page.getByRole("link", { name: "Submit the first one" }).click();
    await field(page, "Source connection").selectOption("sales");
    await field(page, "Query").fill(process.env.QUERY);
    await field(page, "Path").fill("watched");
    await page.getByText("More: slices").click();
    await field(page, "Name of the task").fill("watched");
    await field(page, "Rows of a batch").fill("100");

    await page.getByRole("button", { name: "Preview columns and rows" }).click();
    const preview = page.getByRole("region", { name: "Preview" });
    await preview.waitFor();
    assert.equal(await preview.getByRole("row").count(), 21, "a head and twenty rows");
    await says(page.locator(".preview caption"), /first 20 rows/);
    await says(page.locator(".preview thead"), /id\s+integer\s+Int32/);
    await says(page.locator(".preview tbody tr:first-child"), /^1\s/);
    await says(page.locator(".preview tbody tr:first-child"), /null/);
    // A screen reader is told how much there is, and not all of it.
    await says(page.locator("#announcer"), /^The first 20 rows, \d+ columns\./);
    assert.equal(await page.locator("[aria-live] table, [role=status] table, [role=alert] table").count(), 0);

    await page.getByRole("button", { name: "Submit task" }).click();
    await page.waitForURL(/#\/tasks\/watched$/);
    await status(page, "running");
    const rows = page.locator("dl.big div", { hasText: "Rows read" }).locator("dd");
    const seen = new Set();
    await eventually("rows that were read", async () => seen.add(await rows.innerText()) && [...seen].some((value) => value !== "0"));
    ask("gate");
    await status(page, "completed");
    await says(page.locator("#announcer"), /The task is completed: 1,000 rows\./);
    await says(page.locator(".card:has(#receipt)"), /1,000/);
    await says(page.locator(".card:has(#receipt)"), /task_watched_result_001\.parquet/);
    await says(page.locator(".card:has(#attempts)"), /completed/);
    assert.equal(await page.getByRole("button", { name: "Cancel task" }).isVisible(), false);

    await page.getByRole("link", { name: "Tasks" }).first().click();
    await page.getByRole("heading", { name: "Tasks", level: 1 }).waitFor();
    const listed = page.getByRole("row", { name: /watched/ });
    await says(listed, /completed[\s\S]*1 k/);
    await page.goto(`${address}/#/tasks?status=failed`);
    await page.getByText("No task is failed").waitFor();
    await page.getByRole("link", { name: "Runs" }).click();
    await page.getByRole("heading", { name: "Runs", level: 1 }).waitFor();
    const run = page.getByRole("row", { name: /watched/ });
    await says(run, /completed[\s\S]*sales[\s\S]*1 k/);
    await close(page);
  },

  /** What is wrong in a form is said at the field, and the focus goes to the summary. */
  async mistakes(browser) {
    const page = await open(browser);
    await page.goto(`${address}/#/new`);
    await field(page, "Source connection").selectOption("sales");
    await field(page, "Query").fill("DELETE FROM orders");
    await page.getByRole("button", { name: "Submit task" }).click();
    const summary = page.locator("#problems").filter({ hasText: "wrong" });
    await summary.waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.className), "notice notice-bad");
    assert.equal(await field(page, "Query").getAttribute("aria-invalid"), "true");
    assert.notEqual(await text(page, "#query-error"), "");
    // Said once, by the focus; and at the field before its help.
    assert.equal(await summary.getAttribute("role"), null);
    assert.equal(await field(page, "Query").getAttribute("aria-describedby"), "query-error query-help");

    // A field that is hidden in a closed part is shown when it is wrong.
    await page.getByText("More: slices").click();
    await field(page, "Slices").fill("many");
    await page.getByText("More: slices").click();
    await page.getByRole("button", { name: "Submit task" }).click();
    await eventually("another mistake", async () => (await text(page, "#slices-error")).includes("whole number"));
    assert.equal(await field(page, "Query").getAttribute("aria-invalid"), null, "only what is wrong now");
    await summary.getByRole("link", { name: /^Slices/ }).click();
    await hasFocus(page, "input Slices");
    await assertAccessible(page, "a form with mistakes");

    await field(page, "Query").fill("SELECT * FROM nowhere");
    await page.getByRole("button", { name: "Preview columns and rows" }).click();
    await page.locator("form p.notice-bad").filter({ hasText: /nowhere.* does not exist/ }).waitFor();
    await says(page.locator("#announcer"), /no preview: .*nowhere/);
    await close(page);
  },

  /** A task that failed says why and what to do, and is tried again. */
  async failure(browser) {
    const page = await open(browser);
    await page.goto(`${address}/`);
    await page.getByRole("link", { name: "late", exact: true }).click();
    await status(page, "failed");
    const why = page.getByRole("region", { name: "Why it failed" });
    await says(why, /relation "late" does not exist/);
    await says(why, /What to do: .+/);
    await assertAccessible(page, "a failed task");
    const log = page.getByRole("list", { name: "Log lines, oldest first" });
    await log.getByText("attempt begins").waitFor();
    await page.getByLabel("Level").selectOption("error");
    await page.waitForFunction(() => [...document.querySelectorAll(".log li")].every((line) => line.hidden === (line.dataset.level !== "error")));
    await page.getByLabel("Level").selectOption("trace");
    ask("table");
    await eventually("the table", async () => (await page.evaluate(async () =>
      (await fetch("/preview", { method: "POST", headers: { "content-type": "application/json" },
        body: JSON.stringify({ source_config: { database: "sales", table: "late" } }) })).status)) === 200);
    await page.getByRole("button", { name: "Retry" }).click();
    await status(page, "completed");
    assert.equal(await page.locator(".card:has(#attempts) tbody tr").count(), 2);
    assert.equal(await why.isVisible(), false);
    await close(page);
  },

  /** A running task is cancelled, after a question; handling is stopped and started. */
  async cancel(browser) {
    const page = await open(browser);
    await page.goto(`${address}/#/tasks/endless`);
    await status(page, "running");
    await page.getByRole("button", { name: "Cancel task" }).click();
    const question = page.getByRole("dialog", { name: "Cancel this task?" });
    await assertAccessible(page, "a question");
    await question.getByRole("button", { name: "Keep as it is" }).click();
    await question.waitFor({ state: "detached" });
    await status(page, "running");
    await page.getByRole("button", { name: "Cancel task" }).click();
    await question.getByRole("button", { name: "Cancel task" }).click();
    await status(page, "cancelled");
    await says(page.locator("#announcer"), /The task is cancelled/);

    await page.goto(`${address}/#/agent`);
    await page.getByRole("button", { name: "Stop handling" }).click();
    await page.getByText("Stopped: submitted tasks wait").waitFor();
    await page.getByRole("button", { name: "Start handling" }).click();
    await page.getByText("Handling tasks", { exact: true }).waitFor();
    await close(page);
  },

  /** People see and do what the scopes of their key allow, and nothing after they have signed out. */
  async scopes(browser) {
    const page = await open(browser);
    await page.goto(`${address}/`);
    const key = field(page, "API key");
    await key.waitFor();
    await hasFocus(page, "input API key");
    await assertAccessible(page, "the sign-in");
    await key.fill("not-a-key-of-this-agent");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("The agent does not know this key.").waitFor();

    await key.fill(process.env.READER_KEY);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Tasks", level: 1 }).waitFor();
    // The field that had the focus is gone; a screen reader goes on with the page.
    await hasFocus(page, "h1 Tasks");
    await says(page.locator("#announcer"), /^You are signed in\.$/);
    await page.getByText("Key watcher").waitFor();
    await page.getByRole("link", { name: "one", exact: true }).waitFor();
    assert.equal(await page.getByRole("link", { name: "New task" }).count(), 0);
    assert.equal(await page.getByRole("button", { name: "Stop handling" }).count(), 0);
    const [cookie, ...others] = await page.context().cookies();
    assert.deepEqual(others, []);
    assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
    assert.ok(!cookie.value.includes(process.env.READER_KEY));
    assert.equal(await page.evaluate(() => document.cookie), "", "scripts do not see it");
    await page.goto(`${address}/#/tasks/one`);
    await page.getByRole("heading", { name: "one", level: 1 }).waitFor();
    for (const name of ["Retry", "Cancel task"]) assert.equal(await page.getByRole("button", { name }).count(), 0, name);
    await page.goto(`${address}/#/new`);
    await page.getByRole("heading", { name: "This key cannot open this page" }).waitFor();
    // What has no button is refused as well.
    const refused = await page.evaluate(async () => (await fetch("/stop", { method: "POST", headers: { "x-console": "1" } })).status);
    assert.equal(refused, 403);

    await page.reload();
    await page.getByText("Key watcher").waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await key.waitFor();
    assert.deepEqual(await page.context().cookies(), []);
    assert.equal(await page.evaluate(async () => (await fetch("/tasks")).status), 401);

    await key.fill(process.env.OPERATOR_KEY);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("Key operator").waitFor();
    await page.goto(`${address}/#/tasks`);
    await page.getByRole("button", { name: "Stop handling" }).click();
    await page.getByText("Stopped: submitted tasks wait").waitFor();
    // Without the header that only the page sets, the cookie changes nothing.
    const bare = await page.evaluate(async () => (await fetch("/handle_tasks", { method: "POST" })).status);
    assert.equal(bare, 403);
    // A session that has ended, for whatever reason, leads back to the sign-in.
    await page.context().clearCookies();
    await key.waitFor();
    await close(page);
  },

  /** A task for a stage of Snowflake: its fields, a load with keys, and what became of the rows. */
  async stage(browser) {
    const page = await open(browser);
    await page.goto(`${address}/#/new`);
    await field(page, "Source connection").selectOption("sales");
    await field(page, "Query").fill("SELECT * FROM lines");
    await field(page, "Target connection").selectOption("local");
    await field(page, "Path").waitFor();
    assert.equal(await field(page, "Stage").isVisible(), false);
    assert.equal(await page.getByText("Load the files into a table").isVisible(), false);
    await field(page, "Target connection").selectOption("lake");
    await field(page, "Stage").waitFor();
    assert.equal(await field(page, "Path").isVisible(), false);
    await field(page, "Stage").fill(`${process.env.STAGE}/merged/`);
    await page.getByText("Load the files into a table").click();
    await field(page, "Table").fill("lines");
    await field(page, "Mode").selectOption("merge");
    await page.getByText("More: slices").click();
    await field(page, "Name of the task").fill("merged");
    await field(page, "Size of a file").fill("16KiB");

    // A merge has to know what names a row; the field says so, and gets there by the list of mistakes.
    await page.getByRole("button", { name: "Submit task" }).click();
    await says(page.locator("#load_keys-error"), /\S/);
    assert.equal(await field(page, "Keys").getAttribute("aria-invalid"), "true");
    await assertAccessible(page, "a load without keys");
    await page.locator("#problems").getByRole("link", { name: /^Keys: / }).click();
    await hasFocus(page, "input Keys");
    await field(page, "Keys").fill("id");
    await page.getByRole("button", { name: "Submit task" }).click();
    await page.waitForURL(/#\/tasks\/merged$/);
    await status(page, "completed");
    const result = page.getByRole("region", { name: "Result" });
    await result.getByRole("heading", { name: "Loaded into a table" }).waitFor();
    for (const pattern of [/Table\s+\S*LINES/, /Mode\s+merge/, /Loaded\s+5,000 rows/, /Inserted\s+5,000 rows/, /Updated\s+0 rows/, /Deleted\s+0 rows/]) await says(result, pattern);
    assert.doesNotMatch(await result.innerText(), /removed from the stage/);
    await assertAccessible(page, "a receipt with a load");

    // Another one like it begins with the same fields, and updates the rows.
    await page.getByRole("link", { name: "New task like this" }).click();
    await field(page, "Stage").waitFor();
    assert.equal(await field(page, "Stage").inputValue(), `${process.env.STAGE}/merged/`);
    assert.deepEqual([await field(page, "Table").inputValue(), await field(page, "Mode").inputValue(), await field(page, "Keys").inputValue()], ["lines", "merge", "id"]);
    await field(page, "Stage").fill(`${process.env.STAGE}/again/`);
    await field(page, "Remove the files from the stage afterwards").check();
    await field(page, "Name of the task").fill("again");
    await page.getByRole("button", { name: "Submit task" }).click();
    await page.waitForURL(/#\/tasks\/again$/);
    await status(page, "completed");
    for (const pattern of [/Inserted\s+0 rows/, /Updated\s+5,000 rows/, /removed from the stage/]) await says(result, pattern);
    await close(page);
  },

  /** An agent that takes few requests is asked less often, and the page says so; nobody is locked out. */
  async limited(browser) {
    const page = await open(browser);
    await page.goto(`${address}/`);
    await field(page, "API key").fill(process.env.OPERATOR_KEY);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("link", { name: "one", exact: true }).waitFor();
    const notice = page.locator("#limited");
    assert.equal(await notice.isVisible(), false);
    // Other pages of this person use up what there is.
    const use = () => page.evaluate(async () => {
      for (let count = 0; count < 200; count += 1) if ((await fetch("/get_tasks_count")).status === 429) return true;
      return false;
    });
    await eventually("the limit", use);
    await says(notice, /takes no more requests of this page for now/);
    await assertAccessible(page, "a page that has to wait");
    // The key is not locked out where a program uses it.
    ask("program");
    // Whatever is opened meanwhile comes as soon as it can, and a reload brings the page itself.
    await page.getByRole("link", { name: "one", exact: true }).click();
    await status(page, "completed");
    await page.goto(`${address}/#/new`);
    await field(page, "Query").waitFor();
    await page.reload();
    await field(page, "Query").waitFor();
    await page.getByText("Key operator").waitFor();
    await eventually("the notice to go", async () => !(await notice.isVisible()));
    await close(page);
  },

  /** Texts of others stay texts, wherever they are shown. */
  async hostile(browser) {
    const page = await open(browser);
    await page.addInitScript(() => { window.wasHit = 0; });
    const hosts = new Set();
    page.on("request", (request) => hosts.add(new URL(request.url()).host));
    const hit = "<img src=x onerror=window.wasHit=1>";
    for (const hash of ["#/tasks", "#/tasks/hostile", `#/tasks/${encodeURIComponent(hit)}`, "#/new?from=hostile", "#/agent", "#/runs"]) {
      await page.goto(`${address}/${hash}`);
      await page.reload();
      await settle(page);
    }
    await page.goto(`${address}/#/tasks/hostile`);
    await status(page, "failed");
    assert.ok((await text(page, "main")).includes(hit), "the error is shown as it is");
    await page.goto(`${address}/#/new?from=hostile`);
    await field(page, "Query").fill(`SELECT '${hit}' AS "${hit}"`);
    await page.getByRole("button", { name: "Preview columns and rows" }).click();
    await page.getByRole("columnheader", { name: hit }).waitFor();
    assert.equal(await page.getByRole("cell", { name: hit }).count(), 1);
    assert.equal(await page.locator("main img").count(), 0, "no text has become an element");
    assert.equal(await page.evaluate(() => window.wasHit), 0);
    assert.deepEqual([...hosts], [new URL(address).host], "nothing is loaded from elsewhere");

    // If a text became an element after all, the policy would stop it.
    const outcome = await page.evaluate((html) => {
      try {
        document.createElement("div").innerHTML = html;
        return "made";
      } catch (error) {
        return error.name;
      }
    }, hit);
    assert.equal(outcome, "TypeError");
    page.troubles = page.troubles.filter((trouble) => !trouble.includes("TrustedHTML"));
    await close(page);
  },

  /** Everything can be done without a mouse. */
  async keyboard(browser) {
    const page = await open(browser);
    await page.goto(`${address}/`);
    await page.getByRole("heading", { name: "Tasks", level: 1 }).waitFor();
    await page.keyboard.press("Tab");
    await hasFocus(page, "a Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await tabTo(page, "a New task");
    await page.keyboard.press("Enter");
    await page.waitForURL(/#\/new$/);
    await field(page, "Query").waitFor();
    await hasFocus(page, "h1 New task"); // a screen reader begins with the title
    await tabTo(page, "select Source connection");
    await page.keyboard.type("sales");
    await tabTo(page, "input A query");
    await page.keyboard.press("ArrowDown");
    await hasFocus(page, "input A table or view");
    await tabTo(page, "input Table or view");
    await page.keyboard.type("orders");
    await tabTo(page, "button Preview columns and rows");
    await page.keyboard.press("Enter");
    await page.getByRole("region", { name: "Preview" }).waitFor();
    await tabTo(page, "div Preview");
    await tabTo(page, "input Path");
    await page.keyboard.type("by-keyboard");
    await tabTo(page, "summary More");
    await page.keyboard.press("Enter");
    await tabTo(page, "input Name of the task");
    await page.keyboard.type("by-keyboard");
    await page.keyboard.press("Enter");
    await page.waitForURL(/#\/tasks\/by-keyboard$/);
    await status(page, "completed");
    await hasFocus(page, "h1 by-keyboard");

    // The question keeps the focus, Escape means no, and the focus comes back.
    await page.goto(`${address}/#/tasks/endless`);
    await status(page, "running");
    await tabTo(page, "button Cancel task");
    await page.keyboard.press("Enter");
    await hasFocus(page, "button Keep as it is");
    await page.keyboard.press("Escape");
    await hasFocus(page, "button Cancel task");
    await page.keyboard.press("Enter");
    await tabTo(page, "button Cancel task");
    await page.keyboard.press("Enter");
    await status(page, "cancelled");
    await tabTo(page, "button Retry");
    await close(page);
  },

  /** No rule of accessibility is broken on any page, in light, dark and narrow. */
  async accessible(browser) {
    for (const [name, look] of Object.entries({ light: {}, dark: { dark: true }, narrow: { width: 360, height: 760 }, "narrow and dark": { width: 360, height: 760, dark: true } })) {
      const page = await open(browser, look);
      for (const [hash, ready] of [
        ["#/tasks", ".task-id"], ["#/tasks?status=cancelled", ".empty"], ["#/tasks/done", "#receipt"], ["#/tasks/broken", "#trouble"],
        ["#/tasks/endless", "#progress"], ["#/tasks/nowhere", ".empty"], ["#/new", "#query"], ["#/new?from=done", "#query"], ["#/agent", "#connections-source"], ["#/runs", "h1"]]) {
        await page.goto(`${address}/${hash}`);
        await page.locator(ready).first().waitFor();
        await assertAccessible(page, `${hash}, ${name}`);
      }
      await page.goto(`${address}/#/new?from=done`);
      await page.getByRole("button", { name: "Preview columns and rows" }).click();
      await page.getByRole("region", { name: "Preview" }).waitFor();
      await assertAccessible(page, `a preview, ${name}`);
      await close(page);
    }
  },

  /** The pictures of the documentation, into the folder of the variable SCREENSHOTS. */
  async screenshots(browser) {
    const take = async (page, name, hash, ready) => {
      await page.goto(`${address}/${hash}`);
      await page.locator(ready).first().waitFor();
      await settle(page);
      await page.screenshot({ path: path.join(process.env.SCREENSHOTS, `${name}.png`) });
    };
    const light = await open(browser, { width: 1120, height: 760 });
    await light.goto(`${address}/#/tasks`);
    // Some samples for the chart.
    await eventually("samples", async () => (await light.evaluate(async () => (await (await fetch("/throughput")).json()).samples.length)) >= 14);
    await take(light, "tasks", "#/tasks", ".task-id");
    await take(light, "failed", "#/tasks/orders-archive", "#trouble");
    await light.goto(`${address}/#/new?from=orders-2026-11-20`);
    await light.getByRole("button", { name: "Preview columns and rows" }).click();
    await light.locator(".preview").waitFor();
    await light.screenshot({ path: path.join(process.env.SCREENSHOTS, "new.png") });
    await close(light);
    const dark = await open(browser, { width: 1120, height: 760, dark: true });
    await take(dark, "running", "#/tasks/events-backfill", "#progress");
    await eventually("a chart", async () => (await dark.locator(".uplot").count()) > 0);
    await dark.waitForTimeout(6000);
    await dark.screenshot({ path: path.join(process.env.SCREENSHOTS, "running.png") });
    await close(dark);
    const narrow = await open(browser, { width: 360, height: 760 });
    await take(narrow, "narrow", "#/tasks/orders-2026-11-20", "#receipt");
    await close(narrow);
  },
};

const browser = await launch();
try {
  await scenarios[scenario](browser);
} finally {
  await browser.close();
}
