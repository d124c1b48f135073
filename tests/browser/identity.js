// The tabs of the tour in docs/identity.md: two browsers log in as alice, and the first one logs out at the provider
// after it has received a greeting.
//
//   node identity.js URL
//
// Prints each line that a page shows, after `tab:` or `private:`. It exits when the first tab is refused and the other
// one has received a second greeting.

import { chromium } from "playwright-core";
import { fail, options } from "./chromium.js";

const wait = { timeout: 50_000 };

/** Logs in in a browser with cookies of its own, and returns its page. */
async function logIn(browser, name) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on("pageerror", (error) => fail(`${name}: ${error}`));
  await page.exposeFunction("say", (line) => console.log(`${name}: ${line}`));
  await page.addInitScript(() => {
    const report = (changes) => changes.forEach((change) => change.addedNodes.forEach((node) => {
      if (node.nodeName === "LI") say(node.textContent);
    }));
    new MutationObserver(report).observe(document, { childList: true, subtree: true });
  });
  await page.goto(process.argv[2]);
  await page.click("#login");
  await page.fill("input[name=name]", "alice");
  await page.click("button");
  await shown(page, "connected");
  return page;
}

function shown(page, text, number = 0) {
  return page.locator("#seen li", { hasText: text }).nth(number).waitFor(wait);
}

const browser = await chromium.launch(options);
try {
  const tab = await logIn(browser, "tab");
  const other = await logIn(browser, "private");
  await shown(tab, "greeting");
  const [provider] = await Promise.all([tab.waitForEvent("popup", wait), tab.click("#logout")]);
  await provider.click("button");
  await provider.locator("h1", { hasText: "You are logged out" }).waitFor(wait);
  await shown(tab, "refused");
  await shown(other, "greeting", 1);
} catch (error) {
  fail(error.stack);
} finally {
  await browser.close();
}
