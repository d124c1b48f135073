// A page of another origin sends requests that the proxy refuses: it reads the status, not a network error.
//
//   node refusals.js GATEWAY_PORT PATH…
//
// Each answer is a line on standard output.

import { servePages, visit } from "./chromium.js";

const [gateway, ...paths] = process.argv.slice(2);
const port = await servePages();

/** In the page: the status, and what is wrong with the token. */
const ask = async ([url, method]) => {
  try {
    const answer = await fetch(url, { method, body: method === "POST" ? "text" : undefined });
    return `${answer.status} ${await answer.text()} ${answer.headers.get("www-authenticate") ?? ""}`.trim();
  } catch (error) {
    return `${error}`;
  }
};

await visit(async (browser) => {
  const page = await browser.newPage();
  await page.goto(`http://app.test:${port}/`);
  for (const path of paths) {
    for (const method of ["GET", "POST"]) {
      const answer = await page.evaluate(ask, [`http://rig.test:${gateway}${path}`, method]);
      console.log(`${method} ${path}: ${answer}`);
    }
  }
});
