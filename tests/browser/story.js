// A page of another origin runs the same story three times, with EventSource, WebSocket and long polling: it connects
// with its token, subscribes, receives an event that it publishes itself, and its session is revoked.
//
//   node story.js INBOUND_URL INTERNAL_URL TOKEN_OF_SSE TOKEN_OF_WS TOKEN_OF_LP
//
// The sessions of the tokens are sse, ws and lp. Each step is a line on standard output; the Rust test compares them.

import { chromium } from "playwright-core";
import { fail, options, servePages } from "./chromium.js";

const [inbound, internal, ...tokens] = process.argv.slice(2);
const [sseToken, wsToken, lpToken] = tokens;

/** In the page: what the three transports have in common. */
function helpers() {
  window.EVENT = { specversion: "0.2", type: "greeting", source: "/page", id: "1", data: { name: "bob" } };

  window.subscribe = async (base, transport, connectionToken) => {
    const answer = await fetch(`${base}/_rig/v1/connection/${transport}/${connectionToken}/subscriptions`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ subscriptions: [{ eventType: "greeting" }] }),
    });
    await say(`${transport}: subscribed ${answer.status}`);
  };

  // In binary mode, the default of the CloudEvents SDK, and with trace headers: the browser sends a preflight for them.
  window.publish = async (base) => {
    const headers = { "content-type": "application/json", traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` };
    for (const name of ["specversion", "type", "source", "id"]) headers[`ce-${name}`] = EVENT[name];
    const answer = await fetch(`${base}/_rig/v1/events`, {
      method: "POST",
      headers,
      body: JSON.stringify(EVENT.data),
    });
    if (answer.status !== 202) throw new Error(`publish: ${answer.status}`);
  };

  /** Goes through the events of a connection, whatever brings them. */
  window.onRigEvent = async (base, transport, event) => {
    if (event.type === "rig.connection.create") {
      await say(`${transport}: connected`);
      await subscribe(base, transport, event.data.connection_token);
    } else if (event.type === "rig.subscriptions_set" && event.data.length > 0) {
      await say(`${transport}: set ${JSON.stringify(event.data)}`);
      await publish(base);
    } else if (event.type === "greeting") {
      await say(`${transport}: received ${JSON.stringify(event.data)}`);
      await blacklist(transport);
    } else if (event.type === "rig.session_killed") {
      await say(`${transport}: killed`);
    }
  };
}

const byEventSource = ([base, token]) =>
  new Promise((done) => {
    const source = new EventSource(`${base}/_rig/v1/connection/sse?jwt=${token}`);
    const types = ["rig.connection.create", "rig.subscriptions_set", "greeting", "rig.session_killed"];
    for (const type of types) {
      source.addEventListener(type, (message) => onRigEvent(base, "sse", JSON.parse(message.data)));
    }
    // The browser reconnects by itself when the stream is closed; once that is refused, it stops.
    source.onerror = async () => {
      if (source.readyState !== EventSource.CLOSED) return;
      const answer = await fetch(source.url);
      await say(`sse: reconnect refused ${answer.status} ${await answer.text()}`);
      done();
    };
  });

const byWebSocket = ([base, token]) =>
  new Promise((done) => {
    const url = `${base.replace("http", "ws")}/_rig/v1/connection/ws?jwt=${token}`;
    const socket = new WebSocket(url);
    socket.onmessage = (message) => onRigEvent(base, "ws", JSON.parse(message.data));
    socket.onclose = async (close) => {
      await say(`ws: closed ${close.code} ${close.reason}`);
      const again = new WebSocket(url);
      again.onclose = async (refusal) => {
        await say(`ws: reconnect refused ${refusal.code} ${refusal.reason}`);
        done();
      };
    };
  });

const byLongPolling = async ([base, token]) => {
  const ask = (query) => fetch(`${base}/_rig/v1/connection/longpolling${query}`, { credentials: "include" });
  const connected = await ask(`?jwt=${token}`);
  if ((await connected.text()) !== '"ok"') throw new Error(`long polling: ${connected.status}`);
  for (let over = false; !over; ) {
    const poll = ask("");
    const answer = await poll;
    if (!answer.ok) throw new Error(`poll: ${answer.status}`);
    const { events } = await answer.json();
    for (const event of events) {
      over ||= event.type === "rig.session_killed";
      // A poll is pending when the session is blacklisted.
      if (event.type === "greeting") {
        const parked = ask("");
        await onRigEvent(base, "longpolling", event);
        const killed = await (await parked).json();
        for (const last of killed.events) await onRigEvent(base, "longpolling", last);
        over = true;
      } else {
        await onRigEvent(base, "longpolling", event);
      }
    }
  }
  const again = await ask(`?jwt=${token}`);
  await say(`longpolling: reconnect refused ${again.status} ${await again.text()}`);
};

const port = await servePages();
const browser = await chromium.launch(options);
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => fail(`in the page: ${error}`));
  const sessions = { sse: "sse", ws: "ws", longpolling: "lp" };
  await page.exposeFunction("say", (line) => console.log(line));
  await page.exposeFunction("blacklist", async (transport) => {
    const answer = await fetch(`${internal}/v3/session-blacklist`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ sessionId: sessions[transport], validityInSeconds: 60 }),
    });
    console.log(`${transport}: blacklisted ${answer.status}`);
  });
  await page.addInitScript(helpers);
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.evaluate(byEventSource, [inbound, sseToken]);
  await page.evaluate(byWebSocket, [inbound, wsToken]);
  await page.evaluate(byLongPolling, [inbound, lpToken]);
} catch (error) {
  fail(error.stack);
} finally {
  await browser.close();
}
