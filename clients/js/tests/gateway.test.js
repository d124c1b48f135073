// Against a real gateway, over all three transports.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as pass } from "node:timers/promises";

import { connect } from "./client.js";
import { startGateway, token } from "./gateway.js";
import { reaches, record, until } from "./until.js";

const TRANSPORTS = ["sse", "websocket", "longpolling"];

let gateway;
const started = [];
const start = async (...options) => {
  const one = await startGateway(...options);
  started.push(one);
  return one;
};
before(async () => (gateway = await start(["--heartbeat-interval", "200ms", "--token-expiry-warning", "3s"])));
after(() => Promise.all(started.map((one) => one.stop())));

const open_ = [];
afterEach(() => {
  for (const connection of open_.splice(0)) connection.close();
});

let sessions = 0;
const newSession = () => `s${++sessions}`;

/** Opens a connection that records its requests. */
function open(options) {
  const urls = [];
  const requests = [];
  const connection = connect({
    url: gateway.url,
    subscriptions: [{ eventType: "greeting" }],
    backoff: { first: 20, longest: 200 },
    heartbeat: 1000,
    fetch: (url, init) => {
      urls.push(String(url));
      requests.push(`${init.method ?? "GET"} ${url.pathname.split("/").slice(4).join("/").replace(/\/.*\//, "/…/")}`);
      return fetch(url, init);
    },
    WebSocket: class extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols);
        urls.push(String(url));
        requests.push("GET ws");
      }
    },
    ...options,
  });
  open_.push(connection);
  return { connection, urls, requests, ...record(connection) };
}

for (const transport of TRANSPORTS) {
  test(`${transport}: events arrive in order, filtered, and the token is in no URL and no state`, async () => {
    const jwt = token({ sub: "alice", jti: newSession() });
    const subscriptions = [{ eventType: "greeting" }, { eventType: "filtered" }];
    const { connection, log, urls } = open({ transport, token: jwt, subscriptions });
    const data = [];
    connection.on("greeting", (event) => data.push(event.data));
    await reaches(connection, "connected");
    assert.equal(connection.state.transport, transport);
    const ids = [];
    for (let n = 0; n < 20; n++) {
      ids.push(await gateway.publish("greeting", { n }));
      await gateway.publish("other");
    }
    await until(() => log.length >= ids.length);
    assert.deepEqual(log, ids);
    assert.deepEqual(data.at(-1), { n: 19 });
    assert.ok(urls.length && urls.every((url) => !url.includes(jwt.slice(0, 20))), "no token in a URL");
    assert.ok(!JSON.stringify(connection.state).includes(jwt.slice(-20)));
  });

  test(`${transport}: killed, then revoked, then a new login`, async () => {
    const session = newSession();
    const jwt = token({ sub: "alice", jti: session });
    const { connection, requests, states } = open({ transport, token: jwt });
    await reaches(connection, "connected");
    await gateway.revoke(session);
    const killed = await reaches(connection, "killed");
    assert.equal(killed.reason, "Session killed.");
    const count = requests.length;
    await pass(300);
    assert.equal(requests.length, count, "a killed client stays out");

    connection.reconnect();
    const revoked = await reaches(connection, "revoked");
    assert.match(revoked.reason, /blacklisted JWT/);
    assert.equal(revoked.status, 400);

    connection.reconnect(token({ sub: "alice", jti: newSession() }));
    await reaches(connection, "connected");
    assert.deepEqual(states, ["connecting", "connected", "killed", "connecting", "revoked", "connecting", "connected"]);
  });

  test(`${transport}: a token that cannot be renewed expires`, async () => {
    const { connection, requests } = open({ transport, token: token({ sub: "alice", jti: newSession() }, "2s") });
    await reaches(connection, "connected");
    const state = await reaches(connection, "expired");
    assert.equal(state.reason, "Session expired.");
    const count = requests.length;
    await pass(300);
    assert.equal(requests.length, count);
    connection.reconnect();
    const again = await reaches(connection, "expired");
    assert.match(again.reason, /expired/);
  });

  test(`${transport}: a token is renewed in place, before it expires`, async () => {
    const whys = [];
    const { connection, requests, states, log } = open({
      transport,
      token: ({ why }) => {
        whys.push(why);
        return token({ sub: "alice", jti: newSession() }, whys.length < 3 ? "4s" : "1h");
      },
    });
    await reaches(connection, "connected");
    await pass(6500);
    const id = await gateway.publish("greeting");
    await until(() => log.includes(id));
    assert.deepEqual(states, ["connecting", "connected"], "one connection");
    assert.deepEqual(whys, ["connect", "expiring", "expiring"]);
    const path = { sse: "sse", websocket: "ws", longpolling: "longpolling" }[transport];
    assert.equal(requests.filter((request) => request.startsWith("PUT")).length, 2);
    assert.ok(requests.includes(`PUT ${path}/…/subscriptions`), requests.join());
  });

  test(`${transport}: without a renewal, an expired token is replaced on a new connection`, async () => {
    let calls = 0;
    const { connection, states } = open({
      transport,
      token: ({ why }) => {
        if (why === "expiring") throw new Error("the login service is down");
        return token({ sub: "alice", jti: newSession() }, calls++ ? "1h" : "2s");
      },
      onError: () => {},
    });
    await reaches(connection, "connected");
    await until(() => calls === 2);
    await until(() => states.filter((name) => name === "connected").length === 2);
    assert.ok(!states.includes("expired"));
  });

  test(`${transport}: another user's token opens a connection of its own`, async () => {
    let calls = 0;
    const errors = [];
    const { connection, states, log } = open({
      transport,
      token: () => (calls++ ? token({ sub: "bob", jti: newSession() }) : token({ sub: "alice", jti: newSession() }, "4s")),
      onError: (error) => errors.push(error),
    });
    await reaches(connection, "connected");
    await until(() => states.filter((name) => name === "connected").length === 2);
    assert.deepEqual(errors, [], "not tried again until the first token expires");
    const id = await gateway.publish("greeting");
    await until(() => log.includes(id));
  });

  test(`${transport}: refused: the token, the subscriptions`, async () => {
    const bad = open({ transport, token: "a.b.c" });
    const state = await reaches(bad.connection, "refused");
    assert.equal(state.status, 400);
    assert.match(state.reason, /could not decode JWT/);
    const wrong = open({ transport, subscriptions: [{ eventType: "greeting", oneOf: [{ unknown: 1 }] }] });
    const second = await reaches(wrong.connection, "refused");
    assert.match(second.reason, /unknown/);
    const expired = open({ transport, token: token({ jti: newSession() }, "1s") });
    await reaches(expired.connection, "expired", 5000).catch(() => assert.fail(JSON.stringify(expired.connection.state)));
  });

  test(`${transport}: subscriptions change while it is connected`, async () => {
    const { connection, log, requests } = open({ transport, subscriptions: [], token: token({ jti: newSession() }) });
    await reaches(connection, "connected");
    await connection.setSubscriptions([{ eventType: "first" }]);
    const first = await gateway.publish("first");
    await until(() => log.includes(first));
    await Promise.all([connection.setSubscriptions([{ eventType: "second" }]), connection.setSubscriptions([{ eventType: "third" }])]);
    await gateway.publish("first");
    await gateway.publish("second");
    const third = await gateway.publish("third");
    await until(() => log.includes(third));
    assert.deepEqual(log, [first, third]);
    await assert.rejects(connection.setSubscriptions([{ eventType: "x", oneOf: [{ unknown: 1 }] }]), /unknown/);
    assert.deepEqual(connection.subscriptions, [{ eventType: "third" }]);
    connection.reconnect();
    await until(() => connection.state.name === "connected");
    const again = await gateway.publish("third");
    await until(() => log.includes(again));
    assert.equal(requests.filter((request) => request.startsWith("GET")).length >= 2, true);
  });

  test(`${transport}: subscriptions that are set too early are in force once it is connected`, async () => {
    const { connection, log } = open({ transport, subscriptions: [] });
    await connection.setSubscriptions([{ eventType: "early" }]);
    await reaches(connection, "connected");
    const id = await gateway.publish("early");
    await until(() => log.includes(id));
  });

  // A node without a folder forgets its history, and what its ids mean.
  for (const [history, gap] of [["2m", "gap unknown"], ["off", "gap no_position"]]) {
    test(`${transport}: the node shuts down and comes back; then it is killed by force; HISTORY=${history}`, async () => {
      const flags = ["--heartbeat-interval", "200ms", "--reconnect-spread", "0s", "--history", history];
      let node = await start(flags);
      const { connection, states, log } = open({ transport, url: node.url, token: token({ sub: "alice", jti: newSession() }) });
      await reaches(connection, "connected");
      await node.stop("SIGTERM");
      if (transport !== "longpolling") {
        await until(() => states.includes("shutdown"));
        assert.ok(connection.state.name !== "shutdown" || connection.state.retryAt > Date.now());
      }
      node = await start(flags, node.ports);
      connection.reconnect();
      await reaches(connection, "connected", 20_000);
      await until(() => log.length);
      assert.deepEqual(log, [gap]);
      await node.stop("SIGKILL");
      const offline = await reaches(connection, "offline");
      assert.ok(offline.reason, "the error of the network");
      node = await start(flags, node.ports);
      await reaches(connection, "connected");
      const id = await node.publish("greeting");
      await until(() => log.includes(id));
      assert.deepEqual(log, [gap, gap, id]);
    });
  }

  test(`${transport}: too many connects: it waits as long as the gateway says`, async () => {
    const node = await start(["--max-connections-per-minute", "1"]);
    const first = open({ transport, url: node.url });
    await reaches(first.connection, "connected");
    const second = open({ transport, url: node.url });
    const state = await reaches(second.connection, "offline");
    assert.equal(state.status, 429);
    assert.match(state.reason, /maximum number of connections/);
    assert.ok(state.retryAt - Date.now() > 10_000, "retry-after");
  });
}

// A long-polling connection goes when nothing polls any more: after an hour.
for (const transport of ["sse", "websocket"]) {
  test(`${transport}: a closed connection is gone at the gateway too`, async () => {
    const node = await start();
    const { connection } = open({ transport, url: node.url, token: token({ jti: newSession() }) });
    await reaches(connection, "connected");
    assert.equal(await node.connections(), 1);
    connection.close();
    await until(async () => (await node.connections()) === 0);
  });
}

test("auto takes Server-Sent Events first", async () => {
  const { connection } = open({});
  const state = await reaches(connection, "connected");
  assert.equal(state.transport, "sse");
});

test("a gateway that is not one: refused with the status", async () => {
  const { connection } = open({ url: `${gateway.url}/elsewhere` });
  const state = await reaches(connection, "refused");
  assert.equal(state.status, 404);
});
