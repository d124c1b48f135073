// A tab with docs/watch.html: prints each line that the page shows, until it is refused.
//
//   node watch.js URL

import { chromium } from "playwright-core";

// The tab is closed whatever happens.
setTimeout(() => process.exit(1), 60_000).unref();

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
});
const page = await browser.newPage();
let refused;
const end = new Promise((resolve) => (refused = resolve));
await page.exposeFunction("say", (line) => {
  console.log(line);
  if (line.startsWith("refused")) refused();
});
await page.addInitScript(() => {
  const report = (changes) => changes.forEach((change) => change.addedNodes.forEach((node) => {
    if (node.nodeName === "LI") say(node.textContent);
  }));
  new MutationObserver(report).observe(document, { childList: true, subtree: true });
});
await page.goto(process.argv[2]);
await end;
await browser.close();
