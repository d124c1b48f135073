// Resume: nothing missed and nothing twice, or a gap. Against a stand-in for a gateway with a log,
// for what a real one does not do when asked: a cut at each byte, a history that is lost under an
// open connection, gaps without an id. What can be provoked is in gateway_resume.test.js.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { connect } from "./client.js";
import { StandIn } from "./stand_in.js";
import { reaches, record, until } from "./until.js";

let gateway;
before(async () => (gateway = await new StandIn().listen()));
after(() => gateway.close());

let connection;
beforeEach(() => connection?.close());
after(() => connection?.close());

function open(options) {
  connection = connect({
    url: gateway.url,
    subscriptions: [{ eventType: "t" }],
    transport: "sse",
    backoff: { first: 2, longest: 10 },
    ...options,
  });
  return Object.assign(record(connection), { connection });
}

const events = (log) => log.filter((entry) => !/^(gap|resumed)/.test(entry));
const STREAMS = ["sse", "websocket"];

for (const transport of STREAMS) {
  test(`${transport}: cut at every byte of a block, each event comes once`, async () => {
    const { log } = open({ transport });
    await reaches(connection, "connected");
    const expected = [];
    for (let cut = 0; cut <= 160; cut++) {
      for (const id of [`${transport}${cut}a`, `${transport}${cut}b`]) expected.push(id);
      gateway.publish(expected.at(-2), { cut });
      gateway.publish(expected.at(-1));
      await until(() => events(log).length >= expected.length, `all events after a cut at byte ${cut}`);
      await reaches(connection, "connected");
    }
    assert.deepEqual(events(log), expected);
    assert.deepEqual(log.filter((entry) => entry.startsWith("gap")), []);
    assert.ok(log.filter((entry) => entry.startsWith("resumed")).length >= 150);
  });

  test(`${transport}: random events and cuts, 300 rounds`, async () => {
    const { log } = open({ transport });
    await reaches(connection, "connected");
    const expected = [];
    let seed = 7;
    const random = (limit) => (seed = (seed * 48_271) % 2_147_483_647) % limit;
    for (let round = 0; round < 300; round++) {
      const id = `${transport}-r${round}`;
      expected.push(id);
      gateway.publish(id, random(3) ? {} : { cut: random(250) });
      if (!random(4)) gateway.heartbeat();
      if (!random(5)) await new Promise(setImmediate);
      if (!random(9)) await until(() => connection.state.name === "connected");
    }
    await until(() => events(log).length >= expected.length, "all events");
    assert.deepEqual(events(log), expected);
    assert.deepEqual(log.filter((entry) => entry.startsWith("gap")), []);
  });

  test(`${transport}: no event yet: the position of the welcome is enough`, async () => {
    const { log } = open({ transport });
    await reaches(connection, "connected");
    gateway.publish("x0", { type: "other", cut: 0 });
    gateway.publish("primed");
    await until(() => log.includes("primed"));
    assert.deepEqual(log.at(-1) === "primed" ? await until(() => log.includes("resumed 1") && log) : log, ["primed", "resumed 1"]);
  });

  test(`${transport}: an idle client is carried on by heartbeats, beyond what the log keeps`, async () => {
    const { log } = open({ transport });
    await reaches(connection, "connected");
    for (let n = 0; n < 20; n++) gateway.publish(`noise${n}`, { type: "other" });
    gateway.heartbeat();
    gateway.begin = gateway.position;
    await new Promise((passed) => setTimeout(passed, 50));
    gateway.publish("idle", { cut: 3 });
    await until(() => log.includes("resumed 1"));
    assert.deepEqual(log, ["idle", "resumed 1"]);
  });

  test(`${transport}: behind until resumed, and a slow handler does not matter`, async () => {
    const { states } = open({ transport });
    await reaches(connection, "connected");
    gateway.publish("b1", { cut: 1 });
    await until(() => states.filter((name) => name === "connected").length === 2);
    assert.deepEqual(states.slice(-2), ["behind", "connected"]);
  });

  for (const [reason, lose] of [["unknown", () => gateway.restart()], ["expired", () => (gateway.position++, gateway.evict())]]) {
    test(`${transport}: a gap (${reason}) is reported once, and the old position is not used again`, async () => {
      const { log, states } = open({ transport });
      await reaches(connection, "connected");
      gateway.publish(`${reason}1`);
      await until(() => log.length);
      const before = gateway.requests.length;
      lose();
      await until(() => log.includes(`gap ${reason}`));
      gateway.publish(`${reason}2`, { cut: 2 });
      await until(() => log.includes("resumed 1"));
      assert.deepEqual(log, [`${reason}1`, `gap ${reason}`, `${reason}2`, "resumed 1"]);
      const cursors = gateway.requests.slice(before).map(({ url, headers }) => headers["last-event-id"] ?? url.searchParams.get("last_event_id"));
      assert.equal(new Set(cursors).size, cursors.length, "each position is tried once");
      assert.equal(states.at(-1), "connected");
    });
  }

  test(`${transport}: a gap without a position of its own: the old one is given up too`, async () => {
    gateway.gapHasId = false;
    try {
      const { log } = open({ transport });
      await reaches(connection, "connected");
      const before = gateway.requests.length;
      gateway.restart();
      await until(() => log.includes("gap unknown"));
      for (const one of [...gateway.connections]) one.cut();
      await until(() => log.length === 2);
      assert.deepEqual(log, ["gap unknown", "gap no_position"]);
      const { url, headers } = gateway.requests[before + 1];
      assert.equal(headers["last-event-id"] ?? url.searchParams.get("last_event_id"), null);
    } finally {
      gateway.gapHasId = true;
    }
  });

  test(`${transport}: a kill makes it forget where it stood`, async () => {
    const { log } = open({ transport });
    await reaches(connection, "connected");
    gateway.publish("k1");
    await until(() => log.length);
    gateway.kill();
    await reaches(connection, "killed");
    const before = gateway.requests.length;
    gateway.publish("k2");
    connection.reconnect();
    await reaches(connection, "connected");
    const { url, headers } = gateway.requests[before];
    assert.equal(headers["last-event-id"] ?? url.searchParams.get("last_event_id"), null);
    assert.deepEqual(log, ["k1", "gap no_position"]);
  });

  test(`${transport}: a gateway without history: each reconnect is a gap`, async () => {
    gateway.history = false;
    try {
      const { log } = open({ transport });
      await reaches(connection, "connected");
      gateway.publish("h1", { cut: 4 });
      await until(() => log.length);
      await reaches(connection, "connected");
      gateway.publish("h2");
      await until(() => log.includes("h2"));
      assert.deepEqual(log, ["gap no_position", "h2"]);
    } finally {
      gateway.history = true;
    }
  });

  test(`${transport}: a gateway that loses its history under a client says nothing, and the client does`, async () => {
    const { log } = open({ transport });
    await reaches(connection, "connected");
    gateway.history = false;
    try {
      gateway.publish("g1", { cut: 4 });
      await until(() => log.includes("gap no_position"));
      await reaches(connection, "connected");
    } finally {
      gateway.history = true;
    }
  });

  test(`${transport}: without resume, no position is sent, and each reconnect is a gap`, async () => {
    const before = gateway.requests.length;
    const { log } = open({ transport, resume: false });
    await reaches(connection, "connected");
    gateway.publish("n1", { cut: 4 });
    await until(() => log.length);
    for (const { url, headers } of gateway.requests.slice(before)) {
      assert.equal(headers["last-event-id"] ?? url.searchParams.get("last_event_id"), null);
      assert.ok(!headers["sec-websocket-protocol"]?.includes("rig.ids"));
    }
    assert.deepEqual(log, ["gap no_position"]);
  });

  test(`${transport}: subscriptions added after a resume are resumed too, and another cut repeats nothing`, async () => {
    const { log } = open({ transport });
    await reaches(connection, "connected");
    gateway.publish("s1", { cut: 0 });
    for (const [id, type] of [["late1", "u"], ["s2", "t"], ["late2", "u"], ["late3", "u"]]) gateway.publish(id, { type });
    await until(() => log.includes("resumed 2"));
    // The replay breaks off in its second event.
    gateway.cutLate = 1;
    await connection.setSubscriptions([{ eventType: "t" }, { eventType: "u" }]);
    await until(() => log.includes("late3"));
    await reaches(connection, "connected");
    gateway.publish("s3");
    await until(() => log.includes("s3"));
    assert.deepEqual([...events(log)].sort(), ["late1", "late2", "late3", "s1", "s2", "s3"]);
  });

  test(`${transport}: subscriptions that are too long for a URL are sent by PUT before it is connected`, async () => {
    const many = Array.from({ length: 500 }, (_, n) => ({ eventType: `some.long.type.of.events.${n}` }));
    const { log } = open({ transport, subscriptions: [...many, { eventType: "t" }] });
    await reaches(connection, "connected");
    gateway.publish("l1");
    await until(() => log.includes("l1"));
    for (const { url } of gateway.requests) assert.ok(url.href.length < 8000);
  });
}

test("a handler sees each event before its position counts", async () => {
  const { log } = open();
  await reaches(connection, "connected");
  connection.on("t", ({ id }) => {
    // The connection is replaced while the event is being handled.
    if (id === "p1") connection.reconnect();
  });
  gateway.publish("p1");
  await until(() => log.includes("resumed 0"));
  assert.deepEqual(log, ["p1", "resumed 0"]);
});

test("longpolling: an answer that is cut is asked for again", async () => {
  const { log } = open({ transport: "longpolling" });
  await reaches(connection, "connected");
  gateway.cutPoll = 30;
  gateway.publish("lp1");
  await until(() => log.includes("lp1"));
  gateway.publish("lp2");
  await until(() => log.includes("lp2"));
  assert.deepEqual(log, ["lp1", "lp2"]);
});

/** A `fetch` that treats cookies as browsers do: it stores them at once, and shows none. */
function browserFetch() {
  const jar = new Map();
  return async (url, init) => {
    const cookie = [...jar].map((pair) => pair.join("=")).join("; ");
    const response = await fetch(url, { ...init, headers: { ...init.headers, cookie } });
    for (const one of response.headers.getSetCookie()) jar.set(...one.split(";")[0].split("="));
    const headers = new Headers(response.headers);
    headers.delete("set-cookie");
    return new Response(response.body, { status: response.status, headers });
  };
}

for (const [n, what] of ["the answer that opens the connection", "the one with its name"].entries()) {
  test(`longpolling: cut after a browser has stored the cookies: ${what}, then events`, async () => {
    const fetch = browserFetch();
    let polls = 0;
    const { log } = open({
      transport: "longpolling",
      fetch(url, init) {
        if (polls++ === n) gateway.cutPoll = 1;
        return fetch(url, init);
      },
    });
    await reaches(connection, "connected");
    gateway.cutPoll = 30;
    const ids = [1, 2, 3].map((event) => `bc${n}${event}`);
    ids.forEach((id) => gateway.publish(id));
    await until(() => log.includes(ids[2]));
    assert.deepEqual(log, ids);
  });
}

test("longpolling: a mailbox that is gone: resumed by the cookie of the position", async () => {
  const { log } = open({ transport: "longpolling" });
  await reaches(connection, "connected");
  gateway.publish("lm1");
  await until(() => log.includes("lm1"));
  await new Promise((passed) => setTimeout(passed, 20));
  gateway.forgetMailboxes();
  gateway.publish("lm2");
  await until(() => log.includes("resumed 1"));
  gateway.publish("lm3");
  await until(() => log.includes("lm3"));
  assert.deepEqual(events(log), ["lm1", "lm2", "lm3"]);
  assert.deepEqual(log.filter((entry) => entry.startsWith("gap")), []);
});

test("longpolling: thousands of polls leave no memory and no listener behind", async () => {
  const warnings = [];
  const warn = (warning) => warnings.push(String(warning));
  process.on("warning", warn);
  const { log } = open({ transport: "longpolling" });
  await reaches(connection, "connected");
  const rounds = async (count) => {
    const end = log.length + count;
    for (let n = log.length; n < end; n++) {
      gateway.publish(`lots${n}`);
      await until(() => log.length > n);
    }
    gateway.log = [];
    gateway.requests = [];
    for (const mailbox of gateway.mailboxes.values()) mailbox.events.fill(undefined);
    gc();
    gc();
    return process.memoryUsage().heapUsed;
  };
  const before = await rounds(300);
  const after = await rounds(1500);
  process.off("warning", warn);
  assert.ok(after - before < 3_000_000, `${before} -> ${after} B after 1,500 polls`);
  assert.deepEqual(warnings, []);
});

test("longpolling: without positions, a mailbox that is gone is a gap", async () => {
  gateway.history = false;
  try {
    const { log } = open({ transport: "longpolling" });
    await reaches(connection, "connected");
    gateway.forgetMailboxes();
    await until(() => log.includes("gap no_position"));
    await reaches(connection, "connected");
  } finally {
    gateway.history = true;
  }
});
