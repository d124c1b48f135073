// A page with an EventSource, which comes back by itself: prints each event as a line of JSON.
//
//   node resume.js URL
//
// Runs until it is killed.

import { servePages, visit } from "./chromium.js";

const port = await servePages();

await visit(async (browser) => {
  const page = await browser.newPage();
  await page.exposeFunction("say", (line) => console.log(line));
  await page.goto(`http://app.test:${port}/`);
  await page.evaluate((url) => {
    const types = ["greeting", "rig.connection.create", "rig.subscriptions_set", "rig.resumed", "rig.gap"];
    types.push("rig.session_killed", "rig.session_expired");
    const source = new EventSource(url);
    for (const type of types) {
      source.addEventListener(type, (event) =>
        say(JSON.stringify({ type, data: JSON.parse(event.data), id: event.lastEventId })));
    }
  }, process.argv[2]);
  await new Promise((_, reject) => setTimeout(reject, 58_000, new Error("the test has not killed it")));
});
