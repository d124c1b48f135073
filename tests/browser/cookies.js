// A visitor has a token cookie of the gateway, which pages of three origins try to use: the gateway's own, the one that
// CORS names, and another. All belong to different sites; the gateway uses TLS.
//
//   node cookies.js GATEWAY_PORT PAGES_PORT COOKIE TOKEN
//
// Each step is a line on standard output.

import { servePages, visit } from "./chromium.js";

const [gatewayPort, pagesPort, cookieName, token] = process.argv.slice(2);
const gateway = `https://rig.test:${gatewayPort}`;
await servePages(Number(pagesPort));

/** In the page: what becomes of an EventSource. */
const stream = ([base, query, withCredentials]) =>
  new Promise((done) => {
    const source = new EventSource(`${base}/_rig/v1/connection/sse${query}`, { withCredentials });
    source.addEventListener("rig.subscriptions_set", (event) => {
      source.close();
      done(`subscribed ${JSON.parse(event.data).data.length}`);
    });
    source.onerror = () => source.readyState === EventSource.CLOSED && done("closed");
  });

/** In the page: what becomes of a WebSocket. */
const socket = ([base, query, protocols]) =>
  new Promise((done) => {
    const socket = new WebSocket(`${base.replace("http", "ws")}/_rig/v1/connection/ws${query}`, protocols);
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type !== "rig.subscriptions_set") return;
      done(`subscribed ${event.data.length} ${socket.protocol}`.trim());
      socket.close();
    };
    socket.onclose = (close) => done(`closed ${close.code}`);
  });

/** In the page: what a script reads of an answer, or that it reads nothing. */
const ask = async ([url, options]) => {
  try {
    const answer = await fetch(url, { credentials: "include", ...options });
    return `${answer.status} ${await answer.text()}`;
  } catch {
    return "nothing";
  }
};

/** In the page: the same in a frame whose origin is `null`. */
const askInSandbox = ([url]) =>
  new Promise((done) => {
    addEventListener("message", (message) => done(message.data), { once: true });
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.srcdoc = `<script>
      fetch(${JSON.stringify(url)}, { credentials: "include" })
        .then((answer) => answer.text(), () => "nothing")
        .then((text) => parent.postMessage(text, "*"));
    </script>`;
    document.body.append(frame);
  });

await visit(async (browser) => {
  // Named by its address instead of its domain: a __Host- cookie has none.
  const cookie = { name: cookieName, value: token, url: gateway };
  await browser.addCookies([{ ...cookie, secure: true, httpOnly: true, sameSite: "None" }]);
  const page = await browser.newPage();
  const pages = {
    own: `${gateway}/_rig/health`,
    app: `http://app.test:${pagesPort}/`,
    evil: `http://evil.test:${pagesPort}/`,
  };
  for (const [name, url] of Object.entries(pages)) {
    await page.goto(url);
    const say = async (step, action, ...rest) => {
      const text = await page.evaluate(action, [gateway, ...rest]);
      console.log(`${name}: ${step}: ${text}`);
    };
    await say("stream", stream, "", true);
    await say("stream without cookies", stream, "", false);
    await say("socket", socket, "", []);
    await say("socket with the page's token", socket, `?jwt=${token}`, []);
    await say("subprotocol a", socket, `?jwt=${token}`, ["a"]);
    await say("subprotocol of CloudEvents", socket, `?jwt=${token}`, ["a", "cloudevents.json"]);

    await say("token as a subprotocol", socket, "", ["rig", `bearer.${token}`]);

    const longpolling = `${gateway}/_rig/v1/connection/longpolling`;
    console.log(`${name}: poll: ${await page.evaluate(ask, [longpolling, {}])}`);
    const polled = await page.evaluate(ask, [longpolling, {}]);
    const connected = polled.includes("rig.connection.create");
    console.log(`${name}: next poll: ${connected ? "connected" : polled}`);
    const json = { "content-type": "application/json" };
    const event = { specversion: "0.2", type: "greeting", source: "/page", id: "1" };
    const post = { method: "POST", headers: json, body: JSON.stringify(event) };
    const published = await page.evaluate(ask, [`${gateway}/_rig/v1/events`, post]);
    console.log(`${name}: publish: ${published.slice(0, 3)}`);
    const put = { method: "PUT", headers: json, body: '{"subscriptions":[]}' };
    const path = `${gateway}/_rig/v1/connection/sse/none/subscriptions`;
    console.log(`${name}: subscribe: ${(await page.evaluate(ask, [path, put])).slice(0, 3)}`);
    if (name === "evil") {
      console.log(`${name}: sandbox: ${await page.evaluate(askInSandbox, [longpolling])}`);
    }
  }
});
