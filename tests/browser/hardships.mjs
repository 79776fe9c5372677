// Scenarios of what does not go smoothly: an agent that goes away, connections that are down, tasks of others,
// more tasks and longer names than anybody likes, and a keyboard that must not lose its place.

import assert from "node:assert/strict";

import { ask, assertAccessible, assertCellsHold, close, eventually, field, focused, hasFocus, open, says, settle, status, tabTo } from "./browser.mjs";

const [, , , address] = process.argv;
const NARROW = { width: 360, height: 760 };
const PREVIEW = "button Preview columns and rows";
const runRow = (page, task) => page.locator("tbody tr").filter({ has: page.getByRole("link", { name: task, exact: true }) });

async function signIn(page, key) {
  await field(page, "API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Tasks", level: 1 }).waitFor();
}

export const hardships = {
  /** Tasks of another queue: their runs, why one failed, what to do, and their log. */
  async foreign(browser) {
    for (const look of [{}, NARROW]) {
      const page = await open(browser, look);
      await page.goto(`${address}/#/runs`);
      const failed = runRow(page, "2");
      await says(failed, /remote_api[\s\S]*failed[\s\S]*no such table: missing[\s\S]*What to do: Check the table's name/);
      await says(runRow(page, "42"), /remote_api[\s\S]*completed[\s\S]*3/);
      await assertAccessible(page, "runs of another queue");
      await assertCellsHold(page, "the runs");
      await failed.getByRole("link", { name: "2", exact: true }).click();
      await page.waitForURL(/#\/runs\?task=2$/);
      await page.getByText("Attempts of the task 2").waitFor();
      await hasFocus(page, "h1 Runs");
      await eventually("only runs of this task", async () => (await page.locator("tbody tr").count()) === 1);
      const log = page.getByRole("list", { name: "Log lines, oldest first" });
      await log.getByText("attempt begins").waitFor();
      await log.getByText("no such table: missing").first().waitFor();
      await assertAccessible(page, "the runs and the log of a task of another queue");
      // It is no task of this agent's queue, and the page says so.
      await page.goto(`${address}/#/tasks/2`);
      await page.getByText("Tasks of other queues are not in this list.").waitFor();
      await close(page);
    }
  },

  /** What has the focus keeps it, or something near it gets it: after a preview, a switch, a question, a sign-in. */
  async focus(browser) {
    const page = await open(browser);
    await page.goto(`${address}/`);
    await hasFocus(page, "input API key");
    await page.keyboard.type("not-a-key-of-this-agent");
    await tabTo(page, "button Sign in");
    await page.keyboard.press("Enter");
    await page.getByText("The agent does not know this key.").waitFor();
    await hasFocus(page, "input API key");
    await page.keyboard.type(process.env.OPERATOR_KEY);
    await tabTo(page, "button Sign in");
    await page.keyboard.press("Enter");
    await hasFocus(page, "h1 Tasks");

    await tabTo(page, "button Stop handling");
    await page.keyboard.press("Enter");
    await hasFocus(page, "button Start handling");
    await page.keyboard.press("Enter");
    await hasFocus(page, "button Stop handling");

    await page.goto(`${address}/#/new`);
    const query = field(page, "Query");
    await query.waitFor();
    await field(page, "Source connection").selectOption("sales");
    await query.fill("SELECT 1 AS one");
    await tabTo(page, PREVIEW);
    await page.keyboard.press("Enter");
    await says(page.locator(".preview caption"), /^The only row$/);
    await hasFocus(page, PREVIEW);
    const old = page.locator("#preview-old");
    assert.equal(await old.isVisible(), false);

    // Rows of another query are not taken for those of this one.
    await query.fill("SELECT 2 AS two");
    await old.waitFor();
    await says(page.locator("#announcer"), /^The preview is old/);
    await assertAccessible(page, "an old preview");
    await query.fill("SELECT 1 AS one");
    await old.waitFor({ state: "hidden" });
    await field(page, "A table or view").check();
    await old.waitFor();
    await field(page, "A query").check();
    await query.fill("SELECT * FROM nowhere");
    await page.getByRole("button", { name: "Preview columns and rows" }).focus();
    await page.keyboard.press("Enter");
    const trouble = page.locator("form p.notice-bad").filter({ hasText: "nowhere" });
    await trouble.waitFor();
    await hasFocus(page, PREVIEW);
    await query.fill("SELECT 3 AS three");
    await trouble.waitFor({ state: "detached" });

    await page.goto(`${address}/#/tasks/endless`);
    await status(page, "running");
    await tabTo(page, "button Cancel task");
    await page.keyboard.press("Enter");
    await hasFocus(page, "button Keep as it is");
    await tabTo(page, "button Cancel task");
    await page.keyboard.press("Enter");
    await status(page, "cancelled");
    const near = ["a New task like this", "button Retry"];
    await eventually("the focus near the button that has gone", async () => near.includes(await focused(page)));
    await tabTo(page, "button Sign out");
    await page.keyboard.press("Enter");
    await hasFocus(page, "input API key");
    await close(page);
  },

  /** A sign-out that fails says so, and the page does not look as if it had succeeded. */
  async signing_out(browser) {
    const page = await open(browser);
    await page.goto(`${address}/`);
    await signIn(page, process.env.OPERATOR_KEY);
    const out = page.getByRole("button", { name: "Sign out" });
    const problem = JSON.stringify({ type: "urn:data-exchange-agent:problem:too-many-requests", title: "The caller asks too often", status: 429, detail: "wait 3 s" });
    for (const [fail, words] of [
      [(route) => route.abort("connectionrefused"), /^You are still signed in: The agent does not answer/],
      [(route) => route.fulfill({ status: 429, headers: { "retry-after": "3" }, contentType: "application/problem+json", body: problem }), /^You are still signed in: wait 3 s/],
    ]) {
      const session = (url) => url.pathname === "/console/session";
      const handle = (route) => (route.request().method() === "DELETE" ? fail(route) : route.continue());
      await page.route(session, handle);
      await out.click();
      await says(page.locator("#toast"), words);
      assert.ok(await out.isVisible(), "somebody is still signed in");
      assert.ok(await page.getByRole("heading", { name: "Tasks", level: 1 }).isVisible());
      assert.equal((await page.context().cookies()).length, 1);
      assert.doesNotMatch(await page.locator("#announcer").innerText(), /signed out/);
      await page.unroute(session, handle);
    }
    await page.reload();
    await page.getByText("Key operator").waitFor();
    await out.click();
    await field(page, "API key").waitFor();
    await says(page.locator("#announcer"), /^You are signed out\.$/);
    assert.deepEqual(await page.context().cookies(), []);
    await close(page);
  },

  /** Another task like one with unusual columns and a method of its own is that task. */
  async like(browser) {
    const page = await open(browser);
    await page.goto(`${address}/#/tasks/odd`);
    await status(page, "completed");
    await says(page.getByRole("region", { name: "Result" }), /Read with\s+native\s+the task asks for it/);
    await page.getByRole("link", { name: "New task like this" }).click();
    await field(page, "Columns").waitFor();
    assert.equal(await field(page, "Columns").inputValue(), "id, \"a, b\", \"say \"\"hi\"\"\"");
    assert.equal(await field(page, "Read with").inputValue(), "native");
    await page.getByRole("button", { name: "Preview columns and rows" }).click();
    await says(page.locator(".preview thead"), /a, b[\s\S]*say "hi"/);
    await field(page, "Name of the task").fill("odd-again");
    await page.getByRole("button", { name: "Submit task" }).click();
    await page.waitForURL(/#\/tasks\/odd-again$/);
    await status(page, "completed");
    const request = (id) => page.evaluate(async (task) => {
      const { request: { id: _, ...rest } } = await (await fetch(`/tasks/${task}`)).json();
      return rest;
    }, id);
    const first = await request("odd");
    assert.deepEqual(first.source_config.columns, ["id", "a, b", "say \"hi\""]);
    assert.equal(first.source_config.method, "native");
    const second = await request("odd-again");
    assert.deepEqual(second.source_config, first.source_config);

    // A method that there is not is said at its field.
    await page.getByRole("link", { name: "New task like this" }).click();
    await field(page, "Read with").fill("natve");
    await page.getByRole("button", { name: "Submit task" }).click();
    await says(page.locator("#method-error"), /native/);

    // A task that is gone is no reason to show no form.
    await page.goto(`${address}/#/new?from=gone`);
    await page.getByText("The task gone cannot be taken as a pattern").waitFor();
    assert.ok(await field(page, "Query").isVisible());
    await close(page);
  },

  /** Hundreds of tasks with long names: every one is on some page, and no cell is too small for what is in it. */
  async many(browser) {
    const page = await open(browser);
    const all = Number(process.env.WAITING);
    await page.goto(`${address}/#/tasks?status=queued`);
    const seen = new Set();
    const names = () => page.locator("tbody .task-id").allInnerTexts();
    for (let pages = 0; ; pages += 1) {
      await eventually("tasks that were not seen before", async () => (await names()).some((name) => !seen.has(name)));
      const here = await names();
      assert.ok(here.length <= 25, `${here.length} tasks on one page`);
      for (const name of here) {
        assert.ok(!seen.has(name), `${name} is on two pages`);
        seen.add(name);
      }
      assert.ok(pages <= all / 25, "the pages end");
      const older = page.getByRole("link", { name: "Older" });
      if (seen.size === all) {
        await older.waitFor({ state: "detached" });
        break;
      }
      await older.click();
      await page.getByRole("link", { name: "Newest" }).waitFor();
    }
    assert.equal(seen.size, all);
    await says(page.locator(".figures"), new RegExp(`Waiting\\s+${all}`));
    await page.getByRole("link", { name: "Newest" }).click();
    await page.waitForURL(/#\/tasks\?status=queued$/);

    const done = Number(process.env.DONE);
    await page.goto(`${address}/#/runs`);
    await eventually("a page of runs", async () => (await page.locator("tbody tr").count()) === 50);
    await page.getByRole("link", { name: "Older" }).click();
    await eventually("the rest of the runs", async () => (await page.locator("tbody tr").count()) === done - 50);
    await page.getByRole("link", { name: "Newest" }).click();
    await eventually("the first page of runs", async () => (await page.locator("tbody tr").count()) === 50);
    // The end of an address that was cut leads back to the list.
    for (const [list, link] of [["tasks", "Go to the newest tasks"], ["runs", "Go to the newest runs"]]) {
      await page.goto(`${address}/#/${list}?cursor=cut!`);
      await page.getByText("The address leads to no page of this list").waitFor();
      await page.getByRole("link", { name: link }).click();
      await page.locator("tbody tr").first().waitFor();
    }
    await page.goto(`${address}/#/runs?task=nobody`);
    await page.getByText("No attempt of this task is on record").waitFor();
    await close(page);

    const [waiting] = seen;
    for (const look of [NARROW, { width: 760, height: 860 }, { width: 1024, height: 760 }, { width: 1280, height: 860 }]) {
      const narrow = await open(browser, look);
      for (const [hash, ready] of [
        ["#/tasks", ".task-id"], ["#/tasks?status=completed", ".task-id"], [`#/tasks/${waiting}`, "#request"], [`#/tasks/${process.env.BROKEN}`, "#trouble"],
        [`#/tasks/${process.env.LONG}`, "#receipt"], ["#/runs", ".task-id"], [`#/runs?task=${process.env.LONG}`, ".task-id"], ["#/agent", "#connections-source"]]) {
        await narrow.goto(`${address}/${hash}`);
        await narrow.locator(ready).first().waitFor();
        await settle(narrow);
        await assertCellsHold(narrow, `${hash} at ${look.width} pixels`);
      }
      await close(narrow);
    }
  },

  /** An agent that goes away is missed on every page, and found again without anybody's doing. */
  async lost(browser) {
    const list = await open(browser);
    const task = await open(browser);
    const form = await open(browser);
    const pages = [list, task, form];
    await list.goto(`${address}/#/tasks`);
    await list.getByRole("link", { name: "endless", exact: true }).waitFor();
    await task.goto(`${address}/#/tasks/endless`);
    await status(task, "running");
    await form.goto(`${address}/#/new`);
    await field(form, "Source connection").selectOption("sales");
    await field(form, "Query").fill("SELECT 1 AS one");
    await field(form, "Path").fill("form");
    // One that hangs takes connections all the same.
    ask("hang");
    await says(list.locator("#offline"), /^The agent does not answer\. What you see is old/);
    ask("go on");
    await list.locator("#offline").waitFor({ state: "hidden" });
    ask("kill");
    for (const page of [list, task]) {
      await says(page.locator("#offline"), /^The agent does not answer\. What you see is old/);
      await assertAccessible(page, "a page without an agent");
    }
    assert.ok(await list.getByRole("link", { name: "endless", exact: true }).isVisible(), "what was there can still be read");
    await list.getByRole("button", { name: "Stop handling" }).click();
    await says(list.locator("#toast"), /^The agent does not answer/);
    await form.getByRole("button", { name: "Submit task" }).click();
    await says(form.locator("#problems"), /The task was not accepted: The agent does not answer/);
    assert.equal(await field(form, "Query").inputValue(), "SELECT 1 AS one", "nothing is lost");

    ask("start");
    for (const page of [list, task]) await page.locator("#offline").waitFor({ state: "hidden" });
    // The attempt of the agent that died is tried again by the new one.
    await eventually("another attempt", async () => (await task.locator(".card:has(#attempts) tbody tr").count()) === 2);
    await form.getByRole("button", { name: "Submit task" }).click();
    await status(form, "completed");
    await list.getByRole("row", { name: /SELECT 1 AS one/ }).waitFor();
    ask("gate");
    await status(task, "completed");
    for (const page of pages) assert.equal(await page.locator("#offline").isVisible(), false);
    for (const page of pages) await close(page);
  },

  /** A connection that is down says why and what to do, on the page Agent and on a narrow one. */
  async broken(browser) {
    for (const look of [{}, { dark: true }, NARROW]) {
      const page = await open(browser, look);
      await page.goto(`${address}/#/agent`);
      const archive = page.getByRole("row", { name: /^archive/ });
      await says(archive, /connect to PostgreSQL at 127\.0\.0\.1:1: .*refused/);
      await says(archive, /What to do: \S+/);
      await says(page.getByRole("row", { name: /^sales/ }), /connected/);
      await assertAccessible(page, "a connection that is down");
      await assertCellsHold(page, "the connections");
      await close(page);
    }
  },
};
