// Checked, not run: the types of the packed client.

import { connect, type CloudEvent, type Connection, type State } from "@reactive-interaction-gateway/client";

interface Events {
  greeting: { name: string };
  order: { id: number };
}

const connection: Connection<Events> = connect<Events>({
  url: "https://gateway.example.com",
  token: async ({ why, signal }) => (await fetch(`/token?why=${why}`, { signal })).text(),
  subscriptions: [{ eventType: "greeting", oneOf: [{ name: "alice" }] }],
});

const remove: () => void = connection.on("greeting", (event) => event.data.name.toUpperCase());
remove();
connection.on("*", (event) => event.data satisfies { name: string } | { id: number });
connection.onGap(({ reason }) => reason.length);
connection.onResumed(({ events }) => events + 1);
connection.onState((state: State) => (state.name === "offline" ? new Date(state.retryAt!) : undefined));

// @ts-expect-error no such type of events
connection.on("greetings", () => {});
// @ts-expect-error no such member of its data
connection.on("order", (event) => event.data.name);
// @ts-expect-error no such transport
connect({ url: "/", transport: "carrier-pigeon" });
// @ts-expect-error a URL is needed
connect({});
// @ts-expect-error the state cannot be set
connection.state = { name: "closed" };

for await (const event of connection) {
  event satisfies CloudEvent<Events[keyof Events]>;
}

// Without a map of events, any type goes.
connect({ url: "/" }).on("anything", (event) => event.data.whatever);
