// A gateway in place of `fetch`, for what a real one does not do, or not when asked.

/** Returns a `fetch` whose answers `answer` gives, and its calls so far. */
export function fakeFetch(answer) {
  const calls = [];
  const fetch = async (url, init) => {
    const call = { url: new URL(url), init, headers: new Headers(init.headers), method: init.method ?? "GET" };
    calls.push(call);
    init.signal.throwIfAborted();
    return answer(call, calls.length - 1);
  };
  return { fetch, calls };
}

/** Returns an event stream that is written by hand, and closed when its request is aborted. */
export function stream(call, headers = { "content-type": "text/event-stream" }) {
  let controller;
  const encoder = new TextEncoder();
  const body = new ReadableStream({ start: (given) => (controller = given) });
  const made = {
    response: new Response(body, { headers }),
    aborted: false,
    send: (piece) => controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece),
    end: () => controller.close(),
    fail: (error) => controller.error(error),
  };
  call.init.signal.addEventListener("abort", () => {
    made.aborted = true;
    try {
      controller.error(new DOMException("aborted", "AbortError"));
    } catch {
      // It was closed before.
    }
  });
  return made;
}

const block = (type, data, id) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, source: "rig", id: "r", specversion: "0.2", data })}\n` +
  `${id === undefined ? "" : `id: ${id}\n`}\n`;

/** An event of the gateway itself. */
export const ofRig = block;

/** What a stream begins with. */
export const welcome = (id) => block("rig.connection.create", { connection_token: "c" }, id) + block("rig.subscriptions_set", []);

/** A published event, with its position if it has one. */
export const published = (eventId, id, type = "t") =>
  `event: ${type}\ndata: ${JSON.stringify({ specversion: "1.0", type, source: "/s", id: eventId, data: {} })}\n` +
  `${id === undefined ? "" : `id: ${id}\n`}\n`;

export const URL_BASE = "http://gateway.test";
