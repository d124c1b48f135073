// Event streams (WHATWG HTML, section 9.2.6), as the client reads them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "./client.js";
import { fakeFetch, published, stream, URL_BASE, welcome } from "./fake.js";
import { reaches, until } from "./until.js";

/**
 * Lets a client read a stream in these pieces, closes it, and returns what was read and the next
 * cursor.
 */
async function read(pieces) {
  let first;
  const { fetch, calls } = fakeFetch((call, n) => {
    if (n) return new Promise(() => {});
    first = stream(call);
    return first.response;
  });
  const connection = connect({ url: URL_BASE, transport: "sse", fetch, backoff: { first: 0 } });
  const events = [];
  connection.on("*", (event) => events.push(event));
  await until(() => first, "a request");
  for (const piece of pieces) {
    first.send(piece);
    await null;
  }
  first.end();
  await until(() => calls.length > 1, "a second request");
  connection.close();
  return { events, cursor: calls[1].headers.get("last-event-id") };
}

const ids = ({ events }) => events.map(({ id }) => id);
const json = (id) => JSON.stringify({ type: "t", source: "/s", id, data: "ä€😀" });

test("lines end with LF, CR or CRLF, and a byte order mark is no part of the first", async () => {
  for (const end of ["\n", "\r", "\r\n"]) {
    const text = `\uFEFFdata: ${json("a")}${end}id: 1${end}${end}data:${json("b")}${end}${end}`;
    const result = await read([text]);
    assert.deepEqual(ids(result), ["a", "b"], JSON.stringify(end));
    assert.equal(result.cursor, "1");
  }
});

test("a stream may be cut anywhere, also within CRLF and within a character", async () => {
  // The data of the first event is in two lines: a LF that is taken for a line of its own would
  // part them.
  const text = `\uFEFF: hello\r\n\r\nevent: t\r\ndata: ${json("a").slice(0, -1)}\r\ndata: }\r\nid: 1\r\n\r\ndata: ${json("b")}\rid: 2\r\rdata: ${json("c")}\nid: 3\n\n`;
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at <= bytes.length; at++) {
    const result = await read([bytes.slice(0, at), bytes.slice(at)]);
    assert.deepEqual(ids(result), ["a", "b", "c"], `cut at ${at}`);
    assert.equal(result.events[0].data, "ä€😀");
    assert.equal(result.cursor, "3", `cut at ${at}`);
  }
  const single = await read([...bytes].map((byte) => Uint8Array.of(byte)));
  assert.deepEqual(ids(single), ["a", "b", "c"]);
});

test("half a block is no event and no position, wherever it breaks off", async () => {
  const whole = `data: ${json("a")}\nid: 1\n\n`;
  const half = `id: 2\ndata: ${json("b")}\nid: 2\n`;
  for (let at = 0; at <= half.length; at++) {
    const result = await read([whole + half.slice(0, at)]);
    assert.deepEqual(ids(result), ["a"], `cut at ${at}`);
    assert.equal(result.cursor, "1", `cut at ${at}`);
  }
});

test("several data lines are one text, and other fields are ignored", async () => {
  const result = await read(['data: {"type":"t",\ndata:"source":"/s",\nfoo: bar\ndata: "id":\ndata\ndata: "a"}\n\n']);
  assert.deepEqual(ids(result), ["a"]);
});

test("ids: alone, empty, with NUL, without a value, not to be sent", async () => {
  const a = `data: ${json("a")}\nid: 1\n\n`;
  const cursor = async (text) => (await read([a + text])).cursor;
  assert.equal(await cursor(": heartbeat\nid: 2\n\n"), "2", "an id alone moves the position");
  assert.equal(await cursor(": heartbeat\n\n"), "1");
  assert.equal(await cursor("id: 2\0\n\n"), "1", "with NUL it is ignored");
  assert.equal(await cursor("id: 2\nid: 3\0\n\n"), "2");
  assert.equal(await cursor("id:\n\n"), null, "empty: forget");
  assert.equal(await cursor("id\n\n"), null);
  assert.equal(await cursor("id:  2\n\n"), null, "one space is removed; a space cannot be sent");
  assert.equal(await cursor("id: ä\n\n"), null, "not ASCII");
  assert.equal(await cursor(`id: ${"x".repeat(2000)}\n\n`), null, "too long");
  assert.equal(await cursor(`data: ${json("b")}\n\n`), "1", "an event without an id leaves it");
});

test("a block that is no JSON, or no event, is reported and does not stop the others", async () => {
  let answer;
  const errors = [];
  const { fetch } = fakeFetch((call) => (answer = stream(call)).response);
  const connection = connect({ url: URL_BASE, transport: "sse", fetch, onError: (error) => errors.push(error) });
  const seen = [];
  connection.on("*", ({ id }) => seen.push(id));
  await until(() => answer);
  answer.send(`${welcome()}data: {\n\ndata: null\n\ndata: 7\n\n${published("a")}`);
  await until(() => seen.includes("a"));
  assert.equal(errors.length, 3, String(errors));
  assert.deepEqual(seen, ["a"]);
  await reaches(connection, "connected");
  connection.close();
});

test("a block without an end is bounded", async () => {
  let answer;
  const { fetch } = fakeFetch((call) => (answer = stream(call)).response);
  const connection = connect({ url: URL_BASE, transport: "sse", fetch, backoff: { first: 60_000, longest: 60_000 } });
  await until(() => answer);
  const piece = `data: ${"x".repeat((1 << 22) - 7)}\n`;
  for (let n = 0; n < 17; n++) answer.send(piece);
  const state = await reaches(connection, "offline");
  assert.match(state.reason, /too large/);
  connection.close();
});

test("a long line in many pieces costs linear time", async () => {
  const begin = performance.now();
  const text = "x".repeat(1 << 20);
  const pieces = [`data: {"type":"t","source":"/s","id":"a","data":"`];
  for (let n = 0; n < 2000; n++) pieces.push(text.slice(0, 4000));
  const { events } = await read([...pieces, `"}\n\n`]);
  assert.equal(events[0].data.length, 8_000_000);
  assert.ok(performance.now() - begin < 4000, "8 MB in 2,000 pieces");
});
