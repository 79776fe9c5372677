// A real browser for the tests of the console, with an empty profile of its own.
//
// Variables: TEST_PLAYWRIGHT is the folder whose node_modules have playwright-core and axe-core,
// TEST_CHROMIUM the browser. With CONSOLE_ASSETS, the files of the console come from that folder and not
// from the agent, so that they can be tried without building it.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const folder = process.env.TEST_PLAYWRIGHT;
const { chromium } = createRequire(path.join(folder, "package.json"))("playwright-core");
const axeSource = fs.readFileSync(path.join(folder, "node_modules/axe-core/axe.min.js"), "utf8");

/** Longest wait for anything, in milliseconds: a machine that runs all tests at once is slow. */
export const PATIENCE = 120_000;

export async function launch() {
  return chromium.launch({
    executablePath: process.env.TEST_CHROMIUM,
    timeout: PATIENCE,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
}

/** A page with the errors that it had: of scripts, of the policy in the headers, of other hosts. */
export async function open(browser, { width = 1280, height = 860, dark = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce", locale: "en-GB", timezoneId: "UTC",
  });
  if (process.env.CONSOLE_ASSETS) {
    await context.route(/\/console\/[0-9a-f]{16}\//, (route) =>
      route.fulfill({ path: path.join(process.env.CONSOLE_ASSETS, ...new URL(route.request().url()).pathname.split("/").slice(3)) }));
  }
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(`script: ${error.stack}`));
  page.on("console", (message) => {
    // An answer with an error status is what some tests are about.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) page.troubles.push(`console: ${message.text()}`);
  });
  page.on("dialog", (dialog) => {
    page.troubles.push(`a dialog of a script: ${dialog.message()}`);
    dialog.dismiss();
  });
  return page;
}

/** Nothing went wrong in the page, and nothing was loaded from elsewhere. */
export async function close(page) {
  assert.deepEqual(page.troubles, []);
  await page.context().close();
}

/** Waits until `look` finds something. `what` is its name, or makes it when the wait was in vain. */
export async function eventually(what, look) {
  const begun = Date.now();
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() - begun > PATIENCE) assert.fail(`still waiting for: ${typeof what === "function" ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits until the text of an element matches: what a page shows follows what happened, a little later. */
export async function says(locator, pattern) {
  let last;
  await eventually(() => `${pattern} in: ${last}`, async () => {
    last = await locator.innerText();
    return pattern.test(last);
  });
}

/** A field of a form by its label. */
export const field = (page, label) => page.getByLabel(label, { exact: true });

/** Waits until the task of the page has this status. */
export const status = (page, wanted) => page.locator(`.title .badge-${wanted}`).waitFor();

/** Asks the test that has started this to do something. */
export const ask = (word) => console.log(`@${word}`);

export const settle = (page) => page.waitForLoadState("networkidle").catch(() => {});

/** What is in a cell of a table stays in it, and cells do not lie over each other. */
export async function assertCellsHold(page, name) {
  const wrong = await page.evaluate(() => [...document.querySelectorAll("main td, main dd")].flatMap((cell) => {
    const box = cell.getBoundingClientRect();
    if (box.width === 0) return [];
    const parts = [...cell.querySelectorAll("*")].map((part) => part.getBoundingClientRect()).filter((part) => part.width > 0);
    const isOut = parts.some((part) => part.right > box.right + 1 || part.left < box.left - 1);
    return isOut || cell.scrollWidth > cell.clientWidth + 1 ? [cell.innerText.slice(0, 80)] : [];
  }));
  assert.deepEqual(wrong, [], `cells of ${name} that do not hold what is in them`);
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(excess <= 0, `${name} is ${excess} pixels wider than the screen`);
}

/** No rule of accessibility is broken, and the page is not wider than the screen. */
export async function assertAccessible(page, name) {
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const result = await window.axe.run(document, { runOnly: tags });
    return result.violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html, failureSummary }) => [html, failureSummary]) }));
  });
  assert.deepEqual(violations, [], name);
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(excess <= 0, `${name} is ${excess} pixels wider than the screen`);
}

/** What has the focus, as a screen reader names it. */
export const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  const label = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent;
  return `${element.tagName.toLowerCase()} ${label.trim().replace(/\s+/g, " ")}`;
});

/** Waits until this has the focus. */
export async function hasFocus(page, wanted) {
  let last;
  await eventually(() => `the focus on "${wanted}", not on "${last}"`, async () => (last = await focused(page)) === wanted);
}

/** Presses Tab until this has the focus; every stop on the way must be visible. */
export async function tabTo(page, wanted) {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press("Tab");
    const visible = await page.evaluate(() => {
      const element = document.activeElement;
      if (element === document.body) return true;
      const box = element.getBoundingClientRect();
      const style = getComputedStyle(element);
      return box.width > 0 && box.height > 0 && box.top >= 0 && (style.outlineStyle !== "none" || style.boxShadow !== "none");
    });
    const name = await focused(page);
    assert.ok(visible, `the focus on "${name}" cannot be seen`);
    if (name.startsWith(wanted)) return;
  }
  assert.fail(`Tab never gets to "${wanted}"`);
}
