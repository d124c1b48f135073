// Resume against a real gateway with its history, over all three transports, through a network that
// breaks.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as pass } from "node:timers/promises";

import { connect } from "./client.js";
import { startGateway, token } from "./gateway.js";
import { randomFrom, startProxy } from "./proxy.js";
import { reaches, record, until } from "./until.js";

const TRANSPORTS = ["sse", "websocket", "longpolling"];
const FLAGS = ["--heartbeat-interval", "200ms", "--reconnect-spread", "0s"];

let gateway;
before(async () => (gateway = await startGateway(FLAGS)));
after(() => gateway.stop());

const cleanups = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

const newFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), "rig-client-"));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

/** Starts a gateway for one test. */
async function start(...options) {
  const node = await startGateway(...options);
  cleanups.push(() => node.stop());
  return node;
}

let sessions = 0;
const newToken = (claims = {}) => token({ sub: "alice", jti: `r${++sessions}`, ...claims });

/** Opens a connection to a gateway through a proxy, and records which cursors it sends. */
async function open(node, options) {
  const proxy = await startProxy(node.ports[0]);
  cleanups.push(proxy.stop);
  const cursors = [];
  const connection = connect({
    url: proxy.url,
    subscriptions: [{ eventType: "t" }],
    backoff: { first: 5, longest: 20 },
    heartbeat: 1000,
    onError: (error) => assert.fail(error),
    fetch(url, init) {
      if (url.pathname.endsWith("/sse")) cursors.push(init.headers["last-event-id"]);
      return fetch(url, init);
    },
    WebSocket: class extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols);
        cursors.push(url.searchParams.get("last_event_id") ?? undefined);
      }
    },
    ...options,
  });
  cleanups.push(() => connection.close());
  const recorded = record(connection);
  await reaches(connection, "connected");
  return { connection, proxy, cursors, ...recorded };
}

const events = (log) => log.filter((entry) => !/^(gap|resumed)/.test(entry));
const gaps = (log) => log.filter((entry) => entry.startsWith("gap"));

for (const transport of TRANSPORTS) {
  test(`${transport}: cut at random bytes, each event comes once and in order`, async () => {
    const { connection, proxy, log } = await open(gateway, { transport });
    const random = randomFrom(transport.length);
    // The welcome has about 1 kB: some connections break before, some behind many events.
    proxy.limit(() => 1 + random(6000));
    proxy.cut();
    const expected = [];
    // A mailbox of long polling outlives its requests.
    const resumes = () => log.length - events(log).length;
    const isEnough = () => expected.length >= 400 && proxy.cuts > 20 && (transport === "longpolling" || resumes() > 5);
    while (!isEnough()) {
      assert.ok(expected.length < 5000, `${proxy.cuts} cuts, resumed ${resumes()} times`);
      expected.push(await gateway.publish("t", { text: "ä".repeat(random(60)) }));
      if (!random(20)) await pass(random(20));
      // However slow the client is, it catches up now and then, and only then it has resumed. An
      // answer of long polling can be too long for all connections that break.
      if (transport !== "longpolling" && expected.length % 40 === 0) await until(() => events(log).length >= expected.length, "40 events");
    }
    proxy.limit(() => Infinity);
    proxy.cut();
    await until(() => events(log).length >= expected.length, "all events");
    await until(() => connection.state.name === "connected");
    expected.push(await gateway.publish("t"));
    await until(() => log.includes(expected.at(-1)));
    assert.deepEqual(events(log), expected);
    assert.deepEqual(gaps(log), []);
    if (transport === "longpolling") assert.equal(resumes(), 0);
  });

  test(`${transport}: over a clean restart, hundreds of events that were missed come once, then what is new`, async () => {
    const folder = newFolder();
    let node = await start(FLAGS, undefined, folder);
    const { connection, proxy, log, states } = await open(node, { transport, token: newToken() });
    const expected = [await node.publish("t")];
    await until(() => log.length);
    // An answer of long polling has been taken as a whole.
    await pass(50);
    proxy.down();
    for (let n = 0; n < 300; n++) expected.push(await node.publish("t"));
    await node.stop("SIGTERM");
    node = await start(FLAGS, node.ports, folder);
    expected.push(await node.publish("t"));
    states.length = 0;
    proxy.up();
    await until(() => log.some((entry) => /resumed|gap/.test(entry)));
    assert.deepEqual(log, [...expected, "resumed 301"]);
    assert.deepEqual(states.slice(-2), ["behind", "connected"]);
    const id = await node.publish("t");
    await until(() => log.includes(id));
    assert.equal(connection.state.name, "connected");
  });

  test(`${transport}: a node that shuts down in order and comes back is no gap`, async () => {
    const folder = newFolder();
    let node = await start(FLAGS, undefined, folder);
    const { connection, log, states } = await open(node, { transport, token: newToken() });
    for (let n = 0; n < 3; n++) {
      await node.stop("SIGTERM");
      if (transport !== "longpolling") await until(() => states.includes("shutdown"));
      node = await start(FLAGS, node.ports, folder);
      connection.reconnect();
      await until(() => log.includes("resumed 0"));
      assert.deepEqual(log, ["resumed 0"]);
      await reaches(connection, "connected");
      const id = await node.publish("t");
      await until(() => log.includes(id));
      // Its position has come too.
      await pass(50);
      log.length = states.length = 0;
    }
  });

  test(`${transport}: after kill -9 there is a gap, and the next break is none`, async () => {
    const folder = newFolder();
    let node = await start(FLAGS, undefined, folder);
    const { connection, proxy, log, cursors } = await open(node, { transport });
    const first = await node.publish("t");
    await until(() => log.includes(first));
    await pass(50);
    await node.stop("SIGKILL");
    node = await start(FLAGS, node.ports, folder);
    await until(() => log.length > 1);
    assert.deepEqual(log, [first, "gap restarted"]);
    await reaches(connection, "connected");
    proxy.down();
    const missed = await node.publish("t");
    proxy.up();
    await until(() => log.includes(missed));
    if (transport !== "longpolling") {
      await until(() => log.includes("resumed 1"));
      assert.deepEqual(log, [first, "gap restarted", missed, "resumed 1"]);
      assert.equal(cursors.at(-1).length, 22);
      assert.notEqual(cursors.at(-1), cursors[1], "the position of before is not used again");
    } else assert.deepEqual(log, [first, "gap restarted", missed]);
  });

  test(`${transport}: the kill of a session makes it forget where it stood`, async () => {
    const session = `killed-${transport}`;
    const { connection, log, cursors } = await open(gateway, { transport, token: newToken({ jti: session }) });
    const first = await gateway.publish("t");
    await until(() => log.includes(first));
    await gateway.revoke(session);
    await reaches(connection, "killed");
    await gateway.publish("t");
    connection.reconnect(newToken());
    await reaches(connection, "connected");
    const last = await gateway.publish("t");
    await until(() => log.includes(last));
    assert.deepEqual(log, [first, "gap no_position", last]);
    assert.equal(cursors.at(-1), undefined);
  });

  test(`${transport}: a gap: the user was revoked meanwhile`, async () => {
    const folder = newFolder();
    let node = await start(FLAGS, undefined, folder);
    const { connection, proxy, log } = await open(node, { transport, token: newToken({ sub: `${transport}-user` }) });
    await pass(50);
    proxy.down();
    await node.publish("t");
    await node.revokeClaim("/sub", `${transport}-user`);
    // The mailbox of long polling is gone.
    await node.stop("SIGTERM");
    node = await start(FLAGS, node.ports, folder);
    // Tokens of before are revoked: the next one is newer by a second.
    await pass(1100);
    connection.reconnect(newToken({ sub: `${transport}-user` }));
    proxy.up();
    await until(() => log.length || connection.state.name === "revoked");
    await reaches(connection, "connected");
    assert.deepEqual(log, ["gap revoked"]);
  });

  test(`${transport}: gaps: too much was missed, or it is not kept`, async () => {
    const folder = newFolder();
    const flags = [...FLAGS, "--history-bytes", "32MiB", "--history-exclude", "excluded"];
    let node = await start(flags, undefined, folder);
    const many = [{ eventType: "t" }, { eventType: "excluded" }];
    const { connection, proxy, log } = await open(node, { transport, subscriptions: many });
    const restart = async () => {
      await node.stop("SIGTERM");
      node = await start(flags, node.ports, folder);
      proxy.up();
    };
    await pass(50);
    proxy.down();
    for (let n = 0; n < 20; n++) await node.publish("t", { text: "x".repeat(500_000) });
    await restart();
    await until(() => log.includes("gap too_many"));
    await reaches(connection, "connected");
    const id = await node.publish("t");
    await until(() => log.includes(id));
    await pass(50);
    proxy.down();
    await node.publish("excluded");
    await restart();
    await until(() => log.includes("gap expired"));
    assert.deepEqual(log, ["gap too_many", id, "gap expired"]);
  });

  test(`${transport}: with HISTORY=off, each new connection is a gap, and nothing waits for a verdict`, async () => {
    const flags = [...FLAGS, "--history", "off"];
    let node = await start(flags);
    const { connection, proxy, log, states, cursors } = await open(node, { transport });
    await node.stop("SIGKILL");
    node = await start(flags, node.ports);
    await until(() => log.length);
    await reaches(connection, "connected");
    const id = await node.publish("t");
    await until(() => log.includes(id));
    proxy.cut();
    if (transport !== "longpolling") await until(() => log.length > 2);
    await reaches(connection, "connected");
    const last = await node.publish("t");
    await until(() => log.includes(last));
    assert.deepEqual(log, ["gap no_position", id, ...(transport === "longpolling" ? [] : ["gap no_position"]), last]);
    assert.ok(!states.includes("behind"));
    assert.ok(cursors.every((cursor) => cursor === undefined));
  });

  test(`${transport}: subscriptions that are too long for a URL are resumed too, and a second cut repeats nothing`, async () => {
    const many = Array.from({ length: 150 }, (_, n) => ({ eventType: `some.long.type.of.events.${n}` }));
    const { connection, proxy, log } = await open(gateway, { transport, subscriptions: [...many, { eventType: "t" }] });
    const expected = [await gateway.publish("t")];
    await until(() => log.length);
    proxy.down();
    for (let n = 0; n < 30; n++) expected.push(await gateway.publish("t"));
    // The second connection breaks within the replay that follows the change.
    const limits = [3000, 5000, 7000, Infinity];
    proxy.limit(() => limits.shift() ?? Infinity);
    proxy.up();
    await until(() => events(log).length >= expected.length);
    await reaches(connection, "connected");
    expected.push(await gateway.publish("t"));
    await until(() => log.includes(expected.at(-1)));
    assert.deepEqual(events(log), expected);
    assert.deepEqual(gaps(log), []);
  });
}

for (const transport of ["sse", "websocket"]) {
  test(`${transport}: idle for longer than what is kept, while others are busy: nothing is missed`, async () => {
    const node = await start([...FLAGS, "--history-bytes", "64KiB"]);
    const { connection, proxy, log } = await open(node, { transport });
    const busy = await open(node, { transport, subscriptions: [{ eventType: "noise" }] });
    for (let n = 0; n < 100; n++) await node.publish("noise", { text: "x".repeat(2000) });
    await until(() => busy.log.length === 100);
    // Heartbeats carry the position. The second one from now on was sent after all of these events,
    // and has been read when the third one comes.
    const { pieces } = proxy;
    await until(() => proxy.pieces > pieces + 2);
    proxy.down();
    const id = await node.publish("t");
    proxy.up();
    await until(() => log.length > 1);
    assert.deepEqual(log, [id, "resumed 1"]);
    await reaches(connection, "connected");
  });

  test(`${transport}: without resume, no position is asked for or sent, and each reconnect is a gap`, async () => {
    const { proxy, log, cursors } = await open(gateway, { transport, resume: false });
    const id = await gateway.publish("t");
    await until(() => log.includes(id));
    proxy.down();
    await gateway.publish("t");
    proxy.up();
    await until(() => log.length > 1);
    assert.deepEqual(log, [id, "gap no_position"]);
    assert.deepEqual(cursors, [undefined, undefined]);
  });
}
