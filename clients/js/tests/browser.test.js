// In Chromium: a page of another origin than the gateway, all three transports, the network going
// away, tabs. CHROMIUM is the binary.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { startGateway, token } from "./gateway.js";
import { connectIn, startBrowser } from "./page.js";
import { until } from "./until.js";

let browser, context, gateway, origin;

before(async () => {
  gateway = await startGateway(["--heartbeat-interval", "300ms", "--token-expiry-warning", "3s"]);
  browser = await startBrowser();
  ({ origin } = browser);
});

after(async () => {
  await browser?.stop();
  await gateway?.stop();
});

afterEach(() => context?.close());

async function visit(options, { page } = {}) {
  if (!page) {
    page = await context.newPage();
    await page.goto(origin);
  }
  return connectIn(page, { url: gateway.url, ...options });
}

let sessions = 0;
const newToken = (expiresIn, claims = {}) => token({ sub: "alice", jti: `b${++sessions}`, ...claims }, expiresIn);

for (const transport of ["sse", "websocket", "longpolling", "auto"]) {
  test(`${transport}: events, a change of subscriptions, a kill`, async () => {
    context = await browser.newContext();
    const requests = [];
    context.on("request", (request) => requests.push(request.url()));
    const jwt = newToken("1h", { jti: `kill-${transport}` });
    const { page, seen, reaches } = await visit({ jwt, transport });
    page.on("websocket", (socket) => requests.push(socket.url()));
    await reaches("connected");
    const ids = [];
    for (let n = 0; n < 5; n++) ids.push(await gateway.publish("greeting"));
    await until(async () => (await seen()).includes(ids[4]));
    await page.evaluate(() => window.rig.setSubscriptions([{ eventType: "other" }]));
    ids.push(await gateway.publish("other"));
    await until(async () => (await seen()).includes(ids[5]));
    await gateway.revoke(`kill-${transport}`);
    await reaches("killed");
    assert.deepEqual(await seen(), ["connected", ...ids, "killed"]);
    assert.ok(requests.every((url) => !url.includes(jwt.slice(0, 20))), "no token in a URL");
    assert.deepEqual(await page.evaluate(() => window.errors), []);
    await page.evaluate(() => window.rig.reconnect());
    const { reason, status } = await reaches("revoked");
    assert.match(reason, /blacklisted JWT/);
    assert.equal(status, 400);
  });

  test(`${transport}: a token is renewed in place`, async () => {
    context = await browser.newContext();
    const { seen, reaches } = await visit({ jwt: newToken("4s"), later: newToken("1h"), transport });
    await reaches("connected");
    await new Promise((passed) => setTimeout(passed, 5000));
    const id = await gateway.publish("greeting");
    await until(async () => (await seen()).includes(id));
    assert.deepEqual(await seen(), ["connected", id]);
  });
}

for (const transport of ["sse", "websocket", "longpolling"]) {
  test(`${transport}: the network goes away and comes back`, async () => {
    context = await browser.newContext();
    await context.addInitScript(() => (Math.random = () => 1));
    const { seen, reaches, page } = await visit({ jwt: newToken(), transport, options: { heartbeat: 60_000, backoff: { first: 60_000, longest: 60_000 } } });
    await reaches("connected");
    await context.setOffline(true);
    // By the event `offline`: silence is noticed after minutes.
    await reaches("offline");
    const missed = await gateway.publish("greeting");
    await context.setOffline(false);
    // Without the event `online`, it would wait for up to a minute.
    await reaches("connected");
    const id = await gateway.publish("greeting");
    await until(async () => (await seen()).includes(id));
    const what = (await seen()).filter((entry) => /^(e\d|gap|resumed)/.test(entry));
    // A mailbox of long polling outlives the network.
    assert.deepEqual(what, transport === "longpolling" ? [missed, id] : [missed, "resumed 1", id]);
    assert.equal(await page.evaluate(() => window.errors.length), 0);
  });

  test(`${transport}: a browser that is wrong about the network does not end a connection that works`, async () => {
    context = await browser.newContext();
    const { seen, reaches, page } = await visit({ jwt: newToken(), transport });
    await reaches("connected");
    await page.evaluate(() => {
      window.dispatchEvent(new Event("offline"));
      window.dispatchEvent(new Event("online"));
      window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
      document.dispatchEvent(new Event("resume"));
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await new Promise((passed) => setTimeout(passed, 4000));
    const id = await gateway.publish("greeting");
    await until(async () => (await seen()).includes(id));
    assert.deepEqual(await seen(), ["connected", id]);
  });

  test(`${transport}: refused, with the text`, async () => {
    context = await browser.newContext();
    const { reaches } = await visit({ jwt: "a.b.c", transport });
    const { reason, status } = await reaches("refused");
    assert.match(reason, /could not decode JWT/);
    assert.equal(status, 400);
  });
}

test("a hundred connections that are opened and closed leave no memory behind", async () => {
  context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(origin);
  const session = await context.newCDPSession(page);
  const used = async () => {
    await session.send("HeapProfiler.collectGarbage");
    return (await session.send("Runtime.getHeapUsage")).usedSize;
  };
  const round = (url) =>
    page.evaluate(async (url) => {
      const { connect } = await import("/client.js");
      for (let n = 0; n < 100; n++) {
        const connection = connect({ url, transport: n % 2 ? "sse" : "websocket", onError() {} });
        const payload = new Array(10_000).fill(n);
        connection.on("*", () => payload);
        await new Promise((connected) => connection.onState(connected));
        connection.close();
      }
    }, url);
  await round(gateway.url);
  const before = await used();
  await round(gateway.url);
  await round(gateway.url);
  const after = await used();
  assert.ok(after - before < 4_000_000, `${before} -> ${after} B; each keeps 80 kB`);
});

test("longpolling: a page that is loaded again goes on with its connection", async () => {
  context = await browser.newContext();
  const first = await visit({ jwt: newToken(), transport: "longpolling" });
  await first.reaches("connected");
  await first.page.reload();
  const second = await visit({ jwt: newToken(), transport: "longpolling", subscriptions: [{ eventType: "again" }] }, { page: first.page });
  await second.reaches("connected");
  const id = await gateway.publish("again");
  await until(async () => (await second.seen()).includes(id));
  await second.page.reload();
  const other = await visit({ jwt: newToken("1h", { sub: "bob" }), transport: "longpolling" }, { page: first.page });
  const { reason } = await other.reaches("refused");
  assert.match(reason, /user/, "another user does not take over the connection of the first");
});

test("longpolling: a second tab waits, and takes no events from the first", async () => {
  context = await browser.newContext();
  const first = await visit({ jwt: newToken(), transport: "longpolling" });
  await first.reaches("connected");
  const polls = [];
  const page = await context.newPage();
  await page.goto(origin);
  page.on("request", (request) => polls.push(request.url()));
  const second = await visit({ jwt: newToken(), transport: "longpolling" }, { page });
  await second.reaches("offline");
  const ids = [];
  for (let n = 0; n < 20; n++) ids.push(await gateway.publish("greeting"));
  await until(async () => (await first.seen()).includes(ids.at(-1)));
  assert.deepEqual((await first.seen()).filter((entry) => entry.startsWith("e")), ids);
  assert.deepEqual(polls.filter((url) => url.includes("/longpolling")), [], "the second does not poll");
  await first.page.close();
  await second.reaches("connected");
});
