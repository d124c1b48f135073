// An EventSource of a library: prints each event as a line of JSON, and comes back by itself.
//
//   node client.js LIBRARY URL
//
// LIBRARY: eventsource-4, eventsource-5, fetch-event-source, event-source-polyfill

// A client that waits before it comes back may have nothing that keeps the process alive.
setInterval(() => {}, 1 << 30);

const [, , library, url] = process.argv;
const types = ["greeting", "rig.connection.create", "rig.subscriptions_set", "rig.resumed", "rig.gap"];
types.push("rig.session_killed", "rig.session_expired");

const say = (type, data, id) => console.log(JSON.stringify({ type, data: JSON.parse(data), id }));

function listen(source) {
  for (const type of types) source.addEventListener(type, (event) => say(type, event.data, event.lastEventId));
}

switch (library) {
  case "eventsource-4": {
    const { EventSource } = await import("eventsource");
    listen(new EventSource(url));
    break;
  }
  case "eventsource-5": {
    const { EventSource } = await import("eventsource-5");
    listen(new EventSource(url));
    break;
  }
  case "event-source-polyfill": {
    // It handles the end of a stream, and leaves a promise behind: a browser only logs that.
    process.on("unhandledRejection", () => {});
    const { EventSourcePolyfill } = (await import("event-source-polyfill")).default;
    listen(new EventSourcePolyfill(url));
    break;
  }
  case "fetch-event-source": {
    // It is for browsers, and finds a window that is always visible.
    globalThis.window = globalThis;
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = (await import("@microsoft/fetch-event-source")).default;
    fetchEventSource(url, {
      openWhenHidden: true,
      onmessage: ({ event, data, id }) => event && say(event, data, id),
      // Without this, it does not come back after an orderly end.
      onclose: () => {
        throw new Error("closed");
      },
      onerror: () => 200,
    });
    break;
  }
  default:
    throw new Error(`unknown: ${library}`);
}
