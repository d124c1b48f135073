// The pages of examples/channels: both subscribe, one sends, and both show what comes back.
//
//   node channels.js URL_OF_SSE URL_OF_WS
//
// Each step is a line on standard output.

import { visit } from "./chromium.js";

const urls = { sse: process.argv[2], ws: process.argv[3] };
const options = { timeout: 30_000 };

await visit(async (browser) => {
  const pages = {};
  const text = async (name, id) => (await pages[name].locator(`#${id}`).innerText()).trim();
  for (const [name, url] of Object.entries(urls)) {
    pages[name] = await browser.newPage();
    pages[name].on("pageerror", (error) => console.log(`${name}: ${error}`));
    await pages[name].goto(url);
    await pages[name].locator("#state", { hasText: "subscribed" }).waitFor(options);
    console.log(`${name}: ${await text(name, "state")}`);
  }

  // Only one of them subscribes to another channel.
  await pages.ws.fill("#types", "channels.news channels.music");
  await pages.ws.click("#subscribe button");
  await pages.ws.locator("#state", { hasText: "music" }).waitFor(options);

  const send = async (channel, message) => {
    await pages.sse.evaluate(() => (document.getElementById("answer").textContent = ""));
    await pages.sse.fill("#channel", channel);
    await pages.sse.fill("#text", message);
    await pages.sse.click("#send button");
    await pages.sse.locator("#answer", { hasText: /./ }).waitFor(options);
    const [status] = (await text("sse", "answer")).split(" ");
    console.log(`sent to ${channel}: ${status}`);
  };
  await send("music", "la la");
  await pages.ws.locator("#events li", { hasText: "la la" }).waitFor(options);
  await send("news", "<b>not bold</b>");
  for (const name of Object.keys(urls)) {
    await pages[name].locator("#events li", { hasText: "bold" }).waitFor(options);
    const lines = await pages[name].locator("#events li").allInnerTexts();
    console.log(`${name}: ${JSON.stringify(lines)} ${await pages[name].locator("#events b").count()}`);
  }
  await send("NOT A CHANNEL", "refused");
  console.log(`answer: ${await text("sse", "answer")}`);
});
