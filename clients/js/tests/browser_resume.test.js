// Resume in Chromium, against a real gateway, through a network that breaks. Pages do not see the
// cookies of long polling.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as pass } from "node:timers/promises";

import { startGateway, token } from "./gateway.js";
import { connectIn, startBrowser } from "./page.js";
import { randomFrom, startProxy } from "./proxy.js";
import { until } from "./until.js";

const FLAGS = ["--heartbeat-interval", "300ms", "--reconnect-spread", "0s"];

let browser;
before(async () => (browser = await startBrowser()));
after(() => browser?.stop());

const cleanups = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

/** Starts a gateway that can be restarted, with its proxy. */
async function start(flags = FLAGS, folder = mkdtempSync(join(tmpdir(), "rig-client-"))) {
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  let node = await startGateway(flags, undefined, folder);
  cleanups.push(() => node.stop());
  const proxy = await startProxy(node.ports[0]);
  cleanups.push(proxy.stop);
  return {
    proxy,
    publish: (...event) => node.publish(...event),
    revoke: (session) => node.revoke(session),
    stop: (signal) => node.stop(signal),
    /** Whether answers of long polling say how far they go. */
    async saysHowFar() {
      const url = `${node.url}/_rig/v1/connection/longpolling?resume=true`;
      const cookie = (await fetch(url)).headers.getSetCookie().map((one) => one.split(";")[0]).join("; ");
      return "read" in (await (await fetch(url, { headers: { cookie } })).json());
    },
    async start() {
      node = await startGateway(flags, node.ports, folder);
    },
  };
}

let sessions = 0;
const newToken = (claims = {}) => token({ sub: "alice", jti: `p${++sessions}`, ...claims });

async function visit(gateway, options) {
  const context = await browser.newContext();
  cleanups.push(() => context.close());
  const page = await context.newPage();
  await page.goto(browser.origin);
  const visited = await connectIn(page, { url: gateway.proxy.url, jwt: newToken(), ...options, options: { backoff: { first: 5, longest: 20 } } });
  await visited.reaches("connected");
  const what = async () => (await visited.seen()).filter((entry) => /^(e\d|gap|resumed)/.test(entry));
  const sees = (entry) => until(async () => (await what()).includes(entry), entry).catch(async (error) => {
    throw new Error(`${error.message}: ${(await what()).slice(-5)}`);
  });
  return { ...visited, what, sees };
}

for (const transport of ["sse", "websocket", "longpolling"]) {
  test(`${transport}: cut at random bytes, each event comes once and in order`, async () => {
    const gateway = await start();
    const { proxy } = gateway;
    const { what, sees } = await visit(gateway, { transport });
    const random = randomFrom(transport.length);
    proxy.limit(() => 1 + random(6000));
    proxy.cut();
    const expected = [];
    while (expected.length < 200 || proxy.cuts <= 10) {
      assert.ok(expected.length < 5000, `${proxy.cuts} cuts`);
      expected.push(await gateway.publish("greeting", { text: "ä".repeat(random(60)) }));
      if (!random(10)) await pass(random(40));
    }
    proxy.limit(() => Infinity);
    proxy.cut();
    expected.push(await gateway.publish("greeting"));
    await sees(expected.at(-1));
    const entries = await what();
    const events = entries.filter((entry) => entry.startsWith("e"));
    const gaps = entries.filter((entry) => entry.startsWith("gap"));
    // A browser stores the cookies of an answer that is cut, so the gateway has to say how far each
    // answer goes, for it to be asked for again.
    if (transport === "longpolling" && !(await gateway.saysHowFar())) return;
    assert.deepEqual(gaps, []);
    assert.deepEqual(events, expected);
  });

  test(`${transport}: over a clean restart, hundreds of events that were missed come once, then what is new`, async () => {
    const gateway = await start();
    const { what, sees, seen, page } = await visit(gateway, { transport });
    const expected = [await gateway.publish("greeting")];
    await sees(expected[0]);
    // Its position has come too.
    await pass(100);
    gateway.proxy.down();
    for (let n = 0; n < 300; n++) expected.push(await gateway.publish("greeting"));
    await gateway.stop("SIGTERM");
    await gateway.start();
    expected.push(await gateway.publish("greeting"));
    gateway.proxy.up();
    await sees("resumed 301");
    assert.deepEqual(await what(), [...expected, "resumed 301"]);
    assert.deepEqual((await seen()).slice(-1), ["resumed 301"], "connected before");
    const id = await gateway.publish("greeting");
    await sees(id);
    assert.deepEqual(await page.evaluate(() => window.errors), []);
  });

  test(`${transport}: after kill -9 there is a gap`, async () => {
    const gateway = await start();
    const { what, sees } = await visit(gateway, { transport });
    const first = await gateway.publish("greeting");
    await sees(first);
    await pass(100);
    await gateway.stop("SIGKILL");
    await gateway.start();
    await sees("gap restarted");
    const last = await gateway.publish("greeting");
    await sees(last);
    assert.deepEqual(await what(), [first, "gap restarted", last]);
  });

  test(`${transport}: the kill of a session makes it forget where it stood`, async () => {
    const gateway = await start();
    const { what, sees, reaches, page } = await visit(gateway, { transport, jwt: newToken({ jti: `kill-${transport}` }) });
    const first = await gateway.publish("greeting");
    await sees(first);
    await gateway.revoke(`kill-${transport}`);
    await reaches("killed");
    await gateway.publish("greeting");
    await page.evaluate((token) => window.rig.reconnect(token), newToken());
    await reaches("connected");
    const last = await gateway.publish("greeting");
    await sees(last);
    assert.deepEqual(await what(), [first, "gap no_position", last]);
  });

  test(`${transport}: with HISTORY=off, a new connection is a gap at once`, async () => {
    const gateway = await start([...FLAGS, "--history", "off"]);
    const { what, sees, seen } = await visit(gateway, { transport });
    await gateway.stop("SIGTERM");
    await gateway.start();
    await sees("gap no_position");
    const id = await gateway.publish("greeting");
    await sees(id);
    assert.deepEqual(await what(), ["gap no_position", id]);
    assert.ok(!(await seen()).includes("behind"));
  });
}
