// The pages in a browser.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const VIEWS = ["Decode", "Training", "Failures", "Numbers"];
export const SIZES = [
  { width: 360, height: 740 },
  { width: 1600, height: 1000 },
];
export const SCHEMES = ["light", "dark"];

export class Browser {
  static async open(executablePath, pictures) {
    const browser = new Browser();
    browser.browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    browser.pictures = pictures;
    return browser;
  }

  /**
   * Calls `visit` with a page, and returns what went wrong: errors of the console, requests to other
   * places, and what `visit` returns.
   */
  async visit(url, { size = SIZES[1], scheme = "light" }, visit) {
    const context = await this.browser.newContext({ viewport: size, colorScheme: scheme });
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    const problems = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) problems.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => problems.push(`error: ${error.stack}`));
    page.on("request", (request) => {
      const isOwn =
        request.url().startsWith("data:") ||
        request.url().startsWith(new URL(url).origin === "null" ? url : new URL(url).origin);
      if (!isOwn) problems.push(`request to ${request.url()}`);
    });
    try {
      await page.goto(url);
      problems.push(...((await visit(page)) ?? []));
    } catch (error) {
      problems.push(error.message);
    }
    await context.close();
    return problems;
  }

  close() {
    return this.browser.close();
  }
}

export async function show(page, view) {
  await page.getByRole("tab", { name: view }).click();
}

/** The output tokens on the page, without the end. */
export async function outputOf(page) {
  const texts = await page.locator("[aria-label='Output tokens'] .token .text").allTextContents();
  return texts.filter((text) => text !== "end").join(" ");
}

/** Violations that axe-core reports. */
export async function violations(page) {
  // As an extension would, outside the page's content security policy.
  await page.evaluate(axe);
  const { violations: found } = await page.evaluate(() => globalThis.axe.run());
  return found.map(
    ({ id, nodes }) =>
      `axe: ${id}: ${nodes
        .slice(0, 3)
        .map(({ html }) => html)
        .join(" ")}`,
  );
}

/** Whether a page is wider than its window. */
export async function overflow(page) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  return wide > 0 ? [`the page is ${wide} px wider than the window`] : [];
}

/** Controls that the Tab key does not reach. */
export async function unreachable(page) {
  await page.evaluate(() => document.activeElement.blur());
  const wanted = await page.evaluate(() => {
    const selector = "button:not(:disabled), input, select, canvas, a[href], [tabindex='0']";
    const isShown = (element) => element.checkVisibility() && element.tabIndex >= 0;
    return [...document.querySelectorAll(selector)].filter(isShown).map((element, i) => {
      element.dataset.stop = i;
      return element.outerHTML.slice(0, 120);
    });
  });
  const seen = new Set();
  for (let i = 0; i < wanted.length + 3; i++) {
    await page.keyboard.press("Tab");
    seen.add(await page.evaluate(() => document.activeElement.dataset.stop));
  }
  return wanted.filter((_, i) => !seen.has(String(i))).map((html) => `no key reaches ${html}`);
}
