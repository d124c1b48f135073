// Cuts a stream after each of its bytes, and comes back with the id that the parser of fetch-event-source has taken.
//
//   node cuts.js GATEWAY_URL
//
// Prints {"cuts": number, "before_the_last_byte": number of events lost there, "mismatches": […]}.

import parse from "@microsoft/fetch-event-source/lib/cjs/parse.js";

const gateway = process.argv[2];
setTimeout(() => process.exit(1), 60_000).unref();

const path = `/_rig/v1/connection/sse?subscriptions=${encodeURIComponent('[{"eventType":"cut"}]')}`;

/** A client: its cursor, and the events that it has got. */
class Client {
  cursor = "";
  types = [];
  events = [];

  /** Reads at most this many bytes of a new connection, until `isEnough` says so after a message. */
  async connect(bytes, isEnough) {
    const abort = new AbortController();
    const headers = this.cursor ? { "last-event-id": this.cursor } : {};
    const answer = await fetch(gateway + path, { headers, signal: abort.signal });
    const reader = answer.body.getReader();
    let enough = false;
    const onMessage = (message) => {
      if (message.event) this.types.push(message.event);
      if (message.event === "cut") this.events.push(message.data);
      enough ||= isEnough(this);
    };
    const onId = (id) => (this.cursor = id);
    const feed = parse.getLines(parse.getMessages(onId, () => {}, onMessage));
    let read = 0;
    this.tail = "";
    while (!enough && read < bytes) {
      const { value, done } = await reader.read();
      if (done) break;
      // One byte each, so that none after the last one is seen.
      for (let at = 0; at < value.length && !enough && read < bytes; at++, read++) {
        this.tail = (this.tail + String.fromCharCode(value[at])).slice(-30);
        feed(value.subarray(at, at + 1));
      }
    }
    abort.abort();
    return enough;
  }
}

async function publish(id) {
  const event = JSON.stringify({ specversion: "1.0", type: "cut", source: "/s", id });
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${gateway}/_rig/v1/events`, { method: "POST", headers, body: event });
  if (answer.status !== 202) throw new Error(`${answer.status}`);
  return event;
}

const mismatches = [];
let cuts = 0;
let beforeTheLastByte = 0;
for (let bytes = 1; ; bytes++) {
  const client = new Client();
  // Up to the end of its first two blocks, whose length varies by a few bytes.
  await client.connect(Infinity, ({ types }) => types.includes("rig.subscriptions_set"));
  const published = [await publish(`${bytes}-1`), await publish(`${bytes}-2`)];
  const complete = await client.connect(bytes, ({ types }) => types.includes("rig.resumed"));
  cuts++;
  client.types = [];
  // The id was read, and the line end that dispatches the event was not.
  const isBefore = client.events.length < 2 && /\nid: [\w-]{22}\n$/.test(client.tail);
  await client.connect(Infinity, ({ types }) => types.includes("rig.resumed") || types.includes("rig.gap"));
  const got = JSON.stringify(client.events);
  if (got !== JSON.stringify(published)) isBefore ? beforeTheLastByte++ : mismatches.push({ bytes, got });
  if (complete) break;
}
console.log(JSON.stringify({ cuts, before_the_last_byte: beforeTheLastByte, mismatches }));
process.exit(0);
