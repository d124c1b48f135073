// The page of docs/resume.md: runs its script, and prints what it calls.
//
//   node docs.js SCRIPT_FILE GATEWAY_URL TOKEN…
//
// Runs until it is killed. The script gets a token each time that it asks for one.

import { readFile } from "node:fs/promises";

import { servePages, visit } from "./chromium.js";

const [, , file, gateway, ...tokens] = process.argv;
const script = await readFile(file, "utf8");
const port = await servePages();

await visit(async (browser) => {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.log(`error ${error}`));
  await page.exposeFunction("say", (line) => console.log(line));
  await page.exposeFunction("newToken", () => {
    console.log("token");
    return tokens.shift();
  });
  await page.goto(`http://app.test:${port}/`);
  await page.evaluate((url) => {
    window.gateway = url;
    window.apply = (event) => say(`apply ${event.id}`);
    window.load = ({ data }) => say(`load ${data.reason}`);
    const { close } = EventSource.prototype;
    EventSource.prototype.close = function () {
      say("closed");
      close.call(this);
    };
    // The script waits for a random time.
    Math.random = () => 0;
  }, gateway);
  await page.addScriptTag({ content: script });
  await new Promise((_, reject) => setTimeout(reject, 58_000, new Error("the test has not killed it")));
});
