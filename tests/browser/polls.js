// Two pages of different sites poll the same gateway over TLS from one browser: each has its own connection.
//
//   node polls.js GATEWAY_PORT
//
// Each step is a line on standard output.

import { servePages, visit } from "./chromium.js";

const gateway = `https://rig.test:${process.argv[2]}`;
const port = await servePages();

/** In the page: one poll with cookies. */
const poll = async (base) => {
  try {
    const answer = await fetch(`${base}/_rig/v1/connection/longpolling`, { credentials: "include" });
    return await answer.json();
  } catch {
    return "nothing";
  }
};

await visit(async (browser) => {
  const names = ["a", "b"];
  const pages = {};
  for (const name of names) {
    pages[name] = await browser.newPage();
    await pages[name].goto(`http://${name}.test:${port}/`);
  }
  for (const name of names) console.log(`${name}: ${await pages[name].evaluate(poll, gateway)}`);
  const tokens = {};
  for (const name of names) {
    const { events } = await pages[name].evaluate(poll, gateway);
    console.log(`${name}: ${events.map((event) => event.type)}`);
    tokens[name] = events[0].data.connection_token;
  }
  console.log(`same connection: ${tokens.a === tokens.b}`);
  const path = `${gateway}/_rig/v1/connection/longpolling/${tokens.a}/subscriptions`;
  const subscribed = await pages.a.evaluate(async (path) => {
    const headers = { "content-type": "application/json" };
    const body = '{"subscriptions":[{"eventType":"greeting"}]}';
    return (await fetch(path, { method: "PUT", headers, body })).status;
  }, path);
  console.log(`a: subscribe ${subscribed}`);
  const types = async (name) => (await pages[name].evaluate(poll, gateway)).events.map((event) => event.type);
  console.log(`a: ${await types("a")}`);
  console.log(`b: ${await types("b")}`);
});
