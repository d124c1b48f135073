// The life of a connection, with time that tests set: states, retries, tokens, and what must be
// gone at the end.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { connect } from "./client.js";
import { fakeFetch, ofRig, published, stream, URL_BASE, welcome } from "./fake.js";
import { reaches, record, until } from "./until.js";

const refused = (status, text = "", headers = {}) => new Response(text, { status, headers });

/** Lets everything happen that waits for no timer. */
async function settle() {
  for (let n = 0; n < 50; n++) await new Promise(setImmediate);
}

/** Runs a test whose timers and clock stand still, with `Math.random` at its end. */
function timed(name, run) {
  test(name, async () => {
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
    const random = mock.method(Math, "random", () => 1);
    try {
      await run((ms) => mock.timers.tick(ms));
    } finally {
      mock.timers.reset();
      random.mock.restore();
    }
  });
}

/** How long until the next attempt, in ms. */
const wait = ({ state }) => state.retryAt - Date.now();

timed("retries wait longer and longer, up to a limit, and never give up", async (pass) => {
  const { fetch, calls } = fakeFetch(() => Promise.reject(new TypeError("fetch failed", { cause: new Error("ECONNREFUSED") })));
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  const waits = [];
  for (let n = 0; n < 1100; n++) {
    await settleUntil(() => connection.state.name === "offline");
    if (n < 9) waits.push(wait(connection));
    assert.ok(wait(connection) <= 20_000 && wait(connection) > 0);
    pass(wait(connection));
    await settle();
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000, 20_000]);
  assert.equal(connection.state.reason, "ECONNREFUSED");
  assert.ok(calls.length >= 1100);
  connection.close();
});

async function settleUntil(condition) {
  for (let n = 0; n < 200; n++) {
    if (condition()) return;
    await new Promise(setImmediate);
  }
  assert.fail(String(condition));
}

timed("the jitter is full: from nothing to the limit", async () => {
  Math.random.mock.mockImplementation(() => 0.25);
  const { fetch } = fakeFetch(() => Promise.reject(new TypeError("fetch failed")));
  const connection = connect({ url: URL_BASE, transport: "sse", fetch, backoff: { first: 4000 } });
  await settleUntil(() => connection.state.name === "offline");
  assert.equal(wait(connection), 1000);
  connection.close();
});

timed("a server that accepts and closes at once is not asked faster", async (pass) => {
  const { fetch } = fakeFetch((call) => {
    const answer = stream(call);
    answer.send(welcome());
    answer.end();
    return answer.response;
  });
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  const waits = [];
  for (let n = 0; n < 5; n++) {
    await settleUntil(() => connection.state.name === "offline");
    waits.push(wait(connection));
    pass(wait(connection));
    await settle();
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000]);
  connection.close();
});

timed("a connection that lasted makes the next retry quick again", async (pass) => {
  const answers = [];
  const { fetch } = fakeFetch((call, n) => {
    if (n < 4) throw new TypeError("fetch failed");
    answers.push(stream(call));
    answers.at(-1).send(welcome());
    return answers.at(-1).response;
  });
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  for (let n = 0; n < 4; n++) {
    await settleUntil(() => connection.state.name === "offline");
    pass(wait(connection));
    await settle();
  }
  await settleUntil(() => connection.state.name === "connected");
  pass(16_000);
  answers[0].fail(new TypeError("terminated"));
  await settleUntil(() => connection.state.name === "offline");
  assert.equal(wait(connection), 500);
  connection.close();
});

timed("retry-after is honoured: seconds, a date, nonsense, and beyond what timers can wait for", async (pass) => {
  const values = ["7", new Date(Date.now() + 60_000).toUTCString(), "soon", "99999999999", "0"];
  const waits = [];
  const { fetch } = fakeFetch((_, n) => refused(n % 2 ? 503 : 429, "wait", values[n] ? { "retry-after": values[n] } : {}));
  const connection = connect({ url: URL_BASE, transport: "sse", fetch, backoff: { longest: 500 } });
  for (const _ of values) {
    await settleUntil(() => connection.state.name === "offline");
    waits.push(wait(connection));
    pass(wait(connection));
    await settle();
  }
  // Each with 500 ms of jitter; the date counts from the second answer.
  assert.deepEqual(waits, [7500, 60_000 - 7500 + 500, 500, 3_600_000, 500].map((ms, n) => (n === 3 ? ms + 500 : ms)));
  connection.close();
});

timed("retry of the stream and a clean end: the node shuts down and names the time", async (pass) => {
  const answers = [];
  const { fetch, calls } = fakeFetch((call) => {
    answers.push(stream(call));
    return answers.at(-1).response;
  });
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  await settleUntil(() => answers.length);
  answers[0].send(`${welcome()}retry: 4321\n\n`);
  answers[0].end();
  await settleUntil(() => connection.state.name === "shutdown");
  assert.equal(wait(connection), 4321);
  pass(4320);
  await settle();
  assert.equal(calls.length, 1);
  pass(1);
  await settle();
  assert.equal(calls.length, 2);
  connection.close();
});

timed("without a sign of life for 2.5 heartbeats it reconnects, and with one it does not", async (pass) => {
  const answers = [];
  const { fetch } = fakeFetch((call) => {
    answers.push(stream(call));
    answers.at(-1).send(welcome());
    return answers.at(-1).response;
  });
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  await settleUntil(() => connection.state.name === "connected");
  for (let n = 0; n < 20; n++) {
    answers[0].send(": heartbeat\n\n");
    await settle();
    pass(7500);
    await settle();
    pass(7500);
    await settle();
  }
  assert.equal(connection.state.name, "connected");
  // The last look that saw a sign was one before.
  for (let n = 0; n < 3; n++) {
    pass(7500);
    await settle();
  }
  assert.equal(connection.state.name, "connected");
  pass(7500);
  await settle();
  assert.equal(connection.state.name, "offline");
  assert.equal(connection.state.reason, "no sign of life");
  assert.ok(answers[0].aborted, "the silent stream is cancelled");
  connection.close();
});

timed("a page that slept does not take its sleep for silence", async (pass) => {
  const { fetch, calls } = fakeFetch((call) => {
    const answer = stream(call);
    answer.send(welcome());
    return answer.response;
  });
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  await settleUntil(() => connection.state.name === "connected");
  // The clock jumps by a day, and timers run once, as after sleep; also backwards.
  mock.timers.setTime(Date.now() + 86_400_000);
  await settle();
  pass(100);
  await settle();
  assert.equal(connection.state.name, "connected");
  assert.equal(calls.length, 1);
  connection.close();
});

timed("a connect without an answer is given up, and auto tries the next transport", async (pass) => {
  const { fetch, calls } = fakeFetch(() => new Promise(() => {}));
  const made = [];
  class Silent {
    constructor(url) {
      made.push(url.pathname.split("/").at(-1));
    }
    close() {
      made.push("closed");
    }
  }
  const connection = connect({ url: URL_BASE, fetch, WebSocket: Silent });
  await settle();
  pass(15_000);
  await settle();
  assert.deepEqual(calls.map(({ url }) => url.pathname.split("/").at(-1)), ["sse"]);
  assert.equal(calls[0].init.signal.aborted, true);
  pass(15_000);
  await settle();
  assert.deepEqual(made, ["ws", "closed"]);
  assert.equal(calls.at(-1).url.pathname.split("/").at(-1), "longpolling");
  pass(21_000);
  await settle();
  assert.equal(connection.state.name, "offline", "all three in vain: it waits before it begins again");
  connection.close();
});

test("auto: a stream that is buffered, no WebSocket, long polling works", async () => {
  const { fetch, calls } = fakeFetch((call, n) => {
    if (call.url.pathname.endsWith("/sse")) return stream(call).response;
    if (call.method === "PUT") return refused(204);
    const polls = calls.filter(({ url }) => url.pathname.endsWith("/longpolling")).length;
    if (polls === 1) return Response.json("ok");
    if (polls > 2) return new Promise(() => {});
    const events = [
      { type: "rig.connection.create", source: "rig", data: { connection_token: "c" } },
      { type: "rig.subscriptions_set", source: "rig", data: [] },
      { type: "t", source: "/s", id: "a", data: {} },
    ];
    return Response.json({ last_event_id: "a", events });
  });
  class Broken {
    constructor() {
      setTimeout(() => this.onclose({ code: 1006, reason: "" }));
    }
    close() {}
  }
  const connection = connect({ url: URL_BASE, fetch, WebSocket: Broken, timeout: 100 });
  const { log, states } = record(connection);
  await reaches(connection, "connected");
  await until(() => log.includes("a"));
  assert.equal(connection.state.transport, "longpolling");
  assert.deepEqual(states, ["connecting", "connected"], "no state in between");
  connection.close();
});

test("close terminates everything in each phase: no request, no handler, no listener, no timer afterwards", async () => {
  const before = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const phases = {
    token: { token: () => new Promise(() => {}) },
    request: { answer: () => new Promise(() => {}) },
    pause: { answer: () => refused(500) },
    connected: {
      answer: (call) => {
        const answer = stream(call);
        answer.send(welcome());
        return answer.response;
      },
    },
    renewal: {
      token: ({ why }) => (why === "connect" ? "a.b.c" : new Promise(() => {})),
      answer: (call) => {
        const answer = stream(call);
        answer.send(welcome() + ofRig("rig.session_expiring", { expires_in_seconds: 30 }));
        return answer.response;
      },
    },
  };
  for (const [phase, { token, answer = () => new Promise(() => {}) }] of Object.entries(phases)) {
    const { fetch, calls } = fakeFetch(answer);
    const connection = connect({ url: URL_BASE, transport: "sse", fetch, token });
    const { states } = record(connection);
    await settle();
    connection.close();
    const requests = calls.length;
    await settle();
    assert.equal(calls.length, requests, phase);
    for (const { init } of calls) assert.ok(init.signal.aborted, phase);
    assert.equal(states.at(-1), "closed", phase);
    assert.equal(process.getActiveResourcesInfo().filter((name) => name === "Timeout").length, before, phase);
    connection.close();
    assert.equal(states.filter((name) => name === "closed").length, 1, "closed twice is closed once");
  }
});

test("a handler that closes the connection is the last that is called", async () => {
  let answer;
  const { fetch } = fakeFetch((call) => (answer = stream(call)).response);
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  const seen = [];
  connection.on("*", ({ id }) => {
    seen.push(id);
    if (id === "b") connection.close();
  });
  await until(() => answer);
  answer.send(welcome() + published("a") + published("b") + published("c"));
  await reaches(connection, "closed");
  await settle();
  assert.deepEqual(seen, ["a", "b"]);
});

test("reconnecting many times at once leaves one attempt", async () => {
  const answers = [];
  const { fetch } = fakeFetch((call) => {
    answers.push(stream(call));
    answers.at(-1).send(welcome());
    return answers.at(-1).response;
  });
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  const { log } = record(connection);
  await reaches(connection, "connected");
  for (let n = 0; n < 20; n++) connection.reconnect();
  await settle();
  connection.close();
  for (let n = 0; n < 5; n++) connection.reconnect();
  await settle();
  for (let n = 0; n < 5; n++) {
    connection.reconnect();
    await settle();
  }
  const alive = answers.filter(({ aborted }) => !aborted);
  assert.equal(alive.length, 1);
  for (const answer of answers) if (!answer.aborted) answer.send(published("a"));
  await settle();
  assert.equal(log.filter((entry) => entry === "a").length, 1);
  connection.close();
});

test("what an abandoned stream still brings is not dispatched", async () => {
  const answers = [];
  const { fetch } = fakeFetch((call, n) => {
    // The first one ignores that it is aborted, as some implementations do.
    const signal = n ? call.init.signal : new AbortController().signal;
    answers.push(stream({ init: { signal } }));
    answers.at(-1).send(welcome());
    return answers.at(-1).response;
  });
  const connection = connect({ url: URL_BASE, transport: "sse", fetch });
  const { log } = record(connection);
  await reaches(connection, "connected");
  connection.reconnect();
  await until(() => answers.length === 2);
  await reaches(connection, "connected");
  answers[0].send(published("ghost", "9"));
  answers[1].send(published("a"));
  await until(() => log.includes("a"));
  assert.ok(!log.includes("ghost"));
  connection.close();
});

test("handlers that fail lose nothing, and are reported, also later", async () => {
  let answer;
  const errors = [];
  const { fetch, calls } = fakeFetch((call) => (answer = stream(call)).response);
  const connection = connect({
    url: URL_BASE,
    transport: "sse",
    fetch,
    backoff: { first: 0 },
    onError: ({ message }) => errors.push(message),
  });
  connection.on("t", () => {
    throw new Error("first");
  });
  connection.on("t", async () => {
    throw new Error("second");
  });
  const seen = [];
  const remove = connection.on("t", ({ id }) => {
    seen.push(id);
    remove();
  });
  connection.on("t", ({ id }) => seen.push(id));
  connection.onState(() => {
    throw new Error("state");
  });
  await until(() => answer);
  answer.send(welcome("0") + published("a", "1") + published("b", "2"));
  await until(() => seen.includes("b"));
  assert.deepEqual(seen, ["a", "a", "b"]);
  await settle();
  assert.deepEqual(new Set(errors), new Set(["first", "second", "state"]));
  answer.end();
  await until(() => calls.length === 2);
  assert.equal(calls[1].headers.get("last-event-id"), "2");
  connection.close();
});

test("the iterator: in order, until the end, and bounded", async () => {
  let answer;
  const { fetch } = fakeFetch((call) => (answer = stream(call)).response);
  const open = () => connect({ url: URL_BASE, transport: "sse", fetch });
  let connection = open();
  const seen = [];
  const reading = (async () => {
    for await (const { id } of connection) seen.push(id);
  })();
  await until(() => answer);
  answer.send(welcome() + published("a") + published("b") + ofRig("rig.session_killed"));
  await reading;
  assert.deepEqual(seen, ["a", "b"], "it finishes with a final state, after what came before");
  for await (const _ of connection) assert.fail("a final connection has no events");

  answer = undefined;
  connection = open();
  const slow = connection[Symbol.asyncIterator]();
  const other = connection[Symbol.asyncIterator]();
  await until(() => answer);
  answer.send(welcome() + published("a"));
  assert.equal((await slow.next()).value.id, "a");
  await other.return();
  assert.deepEqual(await other.next(), { value: undefined, done: true });
  const many = Array.from({ length: 10_001 }, (_, n) => published(String(n))).join("");
  answer.send(many);
  await until(() => slow.next().then(() => false, (error) => error.message.includes("10000")));
  connection.close();
});

test("a token function that fails is called again; one without a token is the end", async () => {
  const results = [() => Promise.reject(new Error("no network")), () => { throw new Error("sync"); }, () => null];
  const whys = [];
  const { fetch, calls } = fakeFetch(() => refused(500));
  const connection = connect({
    url: URL_BASE,
    transport: "sse",
    fetch,
    backoff: { first: 1 },
    token: ({ why }) => {
      whys.push(why);
      return results.shift()();
    },
  });
  const reasons = [];
  connection.onState(({ reason }) => reasons.push(reason));
  const state = await reaches(connection, "refused");
  assert.deepEqual(whys, ["connect", "connect", "connect"]);
  assert.ok(reasons.includes("no network") && reasons.includes("sync"), String(reasons));
  assert.match(state.reason, /no valid token/);
  assert.equal(calls.length, 0, "the gateway was not asked without a token");
  connection.close();
});

timed("a token function that hangs does not hang the connection, and its late answer is not used", async (pass) => {
  const resolvers = [];
  const { fetch, calls } = fakeFetch(() => new Promise(() => {}));
  const connection = connect({
    url: URL_BASE,
    fetch,
    token: ({ signal }) => new Promise((resolve) => resolvers.push({ resolve, signal })),
  });
  await settle();
  pass(15_000);
  await settleUntil(() => connection.state.name === "offline");
  assert.equal(connection.state.reason, "no token");
  assert.ok(resolvers[0].signal.aborted);
  resolvers[0].resolve("old.old.old");
  await settle();
  assert.equal(calls.length, 0);
  pass(wait(connection));
  await settle();
  resolvers[1].resolve("new.new.new");
  await settle();
  const asked = () => calls.map(({ headers, url }) => [headers.get("authorization"), url.pathname.split("/").at(-1)]);
  assert.deepEqual(asked(), [["Bearer new.new.new", "sse"]]);
  connection.close();
});

test("a token that comes too late for its attempt does not replace a newer one", async () => {
  const resolvers = [];
  const answers = [];
  const { fetch, calls } = fakeFetch((call) => {
    if (call.method === "PUT") return new Response(null, { status: 204 });
    answers.push(stream(call));
    answers.at(-1).send(welcome());
    return answers.at(-1).response;
  });
  const token = () => new Promise((resolve) => resolvers.push(resolve));
  const connection = connect({ url: URL_BASE, transport: "sse", fetch, token });
  await until(() => resolvers.length === 1);
  connection.reconnect();
  await until(() => resolvers.length === 2);
  resolvers[1]("n.e.w");
  await reaches(connection, "connected");
  resolvers[0]("o.l.d");
  await settle();
  await connection.setSubscriptions([]);
  assert.equal(calls.at(-1).headers.get("authorization"), "Bearer n.e.w");
  connection.close();
});

test("a refused token is asked for once more, then refused with the text", async () => {
  const whys = [];
  const { fetch, calls } = fakeFetch(() => refused(400, "could not parse subscriptions: could not decode JWT: Invalid signature"));
  const connection = connect({
    url: URL_BASE,
    transport: "sse",
    fetch,
    token: ({ why }) => {
      whys.push(why);
      return `t.o.${whys.length}`;
    },
  });
  const { states } = record(connection);
  const state = await reaches(connection, "refused");
  assert.deepEqual(whys, ["connect", "refused"]);
  assert.equal(calls.length, 2);
  assert.deepEqual([state.status, state.retryAt], [400, undefined]);
  assert.match(state.reason, /Invalid signature/);
  assert.deepEqual(states, ["connecting", "refused"]);
  connection.reconnect();
  await until(() => calls.length === 4);
  await reaches(connection, "refused");
});

test("answers that no other token helps against are final at once", async () => {
  const cases = [
    [400, "could not parse subscriptions: could not parse subscription from JSON", "refused"],
    [403, "refused: the token came only by cookie", "refused"],
    [400, 'could not parse subscriptions: could not decode JWT: Ignoring blacklisted JWT with ID "x".', "revoked"],
    [404, "", "refused"],
  ];
  for (const [status, text, name] of cases) {
    const { fetch, calls } = fakeFetch(() => refused(status, text));
    const connection = connect({ url: URL_BASE, transport: "sse", fetch, token: () => "t.o.k" });
    const state = await reaches(connection, name);
    assert.equal(state.status, status);
    assert.equal(state.reason, text || "status 404");
    assert.equal(calls.length, 1, text);
  }
});

test("a token that no header can have is refused, and shown nowhere", async () => {
  const { fetch, calls } = fakeFetch(() => refused(500));
  for (const token of ["secret\ntoken", "sécret", "secret token"]) {
    const connection = connect({ url: URL_BASE, fetch, token });
    const state = await reaches(connection, "refused");
    assert.ok(!JSON.stringify(state).includes("cret"), state.reason);
  }
  assert.equal(calls.length, 0);
});

test("a renewal that comes late does not reach the next connection, and a failed one is reported", async () => {
  const renewals = [];
  const answers = [];
  const errors = [];
  const { fetch, calls } = fakeFetch((call) => {
    if (call.method === "PUT") return new Response(null, { status: 204 });
    answers.push(stream(call));
    answers.at(-1).send(welcome() + ofRig("rig.session_expiring", { expires_in_seconds: 1 }));
    return answers.at(-1).response;
  });
  const connection = connect({
    url: URL_BASE,
    transport: "sse",
    fetch,
    onError: (error) => errors.push(error.message),
    token: ({ why }) => {
      if (why === "connect") return `con.nec.${answers.length}`;
      return new Promise((resolve, reject) => renewals.push({ resolve, reject }));
    },
  });
  await until(() => renewals.length === 1);
  connection.reconnect();
  await until(() => renewals.length === 2);
  renewals[0].resolve("l.a.te");
  await settle();
  assert.equal(calls.filter(({ method }) => method === "PUT").length, 0);
  renewals[1].reject(new Error("login is down"));
  await until(() => errors.includes("login is down"));
  assert.equal(connection.state.name, "connected", "the connection goes on");
  await until(() => renewals.length === 3);
  renewals[2].resolve("n.e.w");
  await until(() => calls.at(-1).method === "PUT");
  assert.equal(calls.at(-1).headers.get("authorization"), "Bearer n.e.w");
  assert.equal(calls.at(-1).url.pathname, "/_rig/v1/connection/sse/c/subscriptions");
  connection.close();
});

test("hundreds of reconnects leave no listener, and the last one is removed at the end", async () => {
  const counts = new Map();
  const count = (type, by) => counts.set(type, (counts.get(type) ?? 0) + by);
  const target = new EventTarget();
  globalThis.addEventListener = (type, handler, options) => {
    count(type, 1);
    options.signal.addEventListener("abort", () => count(type, -1));
    target.addEventListener(type, handler, options);
  };
  try {
    const given = new AbortController();
    const answers = [];
    const { fetch, calls } = fakeFetch((call) => {
      answers.push(stream(call));
      answers.at(-1).send(welcome());
      return answers.at(-1).response;
    });
    const connection = connect({ url: URL_BASE, transport: "sse", fetch, signal: given.signal, backoff: { first: 0 } });
    for (let n = 0; n < 300; n++) {
      await until(() => answers.length > n && connection.state.name === "connected");
      answers[n].end();
      await until(() => calls.length > n + 1);
    }
    assert.ok([...counts.values()].every((n) => n === 1), JSON.stringify([...counts]));
    given.abort();
    await settle();
    assert.equal(connection.state.name, "closed");
    assert.ok([...counts.values()].every((n) => n === 0), JSON.stringify([...counts]));
  } finally {
    delete globalThis.addEventListener;
  }
});
