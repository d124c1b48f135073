// What both pages share: subscriptions, the form, and the list of events. Everything is shown as text.

/** `?gateway=http://HOST:PORT` names another gateway. */
export const gateway = new URLSearchParams(location.search).get("gateway") ?? "http://localhost:4000";

const byId = (id) => document.getElementById(id);

/** Shows what the connection does. */
export function state(text) {
  byId("state").textContent = text;
}

/** Shows an event as a line; at most the last hundred are kept. */
export function show(event) {
  const line = document.createElement("li");
  line.textContent = `${event.type}: ${event.data?.text ?? JSON.stringify(event.data)}`;
  const list = byId("events");
  list.append(line);
  while (list.children.length > 100) list.firstChild.remove();
}

/** Returns the event types in the field. */
export function types() {
  return byId("types").value.split(/\s+/).filter(Boolean);
}

/** Sets the subscriptions of a connection, which replaces those before. */
export async function subscribe(transport, connectionToken) {
  const subscriptions = types().map((eventType) => ({ eventType }));
  const answer = await fetch(`${gateway}/_rig/v1/connection/${transport}/${connectionToken}/subscriptions`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ subscriptions }),
  });
  state(answer.ok ? `subscribed to ${types().join(", ")}` : `not subscribed: ${answer.status}`);
}

/** Calls `change` when other event types are wanted. */
export function onTypes(change) {
  byId("subscribe").addEventListener("submit", (event) => {
    event.preventDefault();
    change();
  });
}

/** Sends the form to the gateway, which writes it to Kafka and waits for the service's answer. */
async function send() {
  const id = crypto.getRandomValues(new Uint32Array(4)).join("-");
  const data = { channel: byId("channel").value, text: byId("text").value };
  const answer = await fetch(`${gateway}/channels/messages`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ specversion: "1.0", type: "channels.send", source: "/page", id, data }),
  });
  const text = await answer.text();
  byId("answer").textContent = `${answer.status} ${text}`;
  if (answer.ok) byId("text").value = "";
}

byId("send").addEventListener("submit", (event) => {
  event.preventDefault();
  send().catch((error) => (byId("answer").textContent = `${error}`));
});
