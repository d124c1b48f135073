// WebSocket, with the token as a subprotocol, and positions if the gateway speaks `rig.ids`.

import { EXPIRED, INVALID, KILLED, LEAVING, offline, refusal } from "./answer.js";
import { type Attempt, heard } from "./attempt.js";
import type { Link } from "./link.js";
import { requestStream } from "./sse.js";

const IDS = "rig.ids";

/** How long clients of a node that shuts down spread their reconnects, in ms, beside a second. */
const SPREAD = 10_000;

export function webSocket(attempt: Attempt, link: Link): void {
  const { WebSocket, resume } = link;
  const { cursor, token, signal } = attempt;
  if (!WebSocket) return attempt.end(offline("no WebSocket", true));
  const url = link.url("ws");
  url.protocol = url.protocol.replace("http", "ws");
  if (cursor) url.searchParams.set("last_event_id", cursor);
  const protocols = resume ? [IDS, "rig"] : ["rig"];
  if (token) protocols.push(`bearer.${token}`);
  let socket: WebSocket;
  try {
    socket = new WebSocket(url, protocols);
  } catch {
    // The error would contain the token.
    return attempt.end({ ...INVALID, unusable: true });
  }
  signal.addEventListener("abort", () => socket.close());
  socket.onopen = () => {
    // Pages do not see pings: without positions, there is no sign of life to wait for.
    attempt.watched = socket.protocol === IDS;
  };
  socket.onmessage = ({ data }) => {
    heard(attempt);
    const match = attempt.watched && /^id:? ?(.*)\n?/.exec(data);
    if (match) link.take(data.slice(match[0].length), match[1]);
    else link.take(data);
  };
  const closed = ({ code = 1006, reason = "" }: Partial<CloseEvent>) => {
    if (reason === KILLED.reason) attempt.end(KILLED);
    else if (reason === EXPIRED.reason) attempt.end(EXPIRED);
    else if (code === 1001) attempt.end({ ...LEAVING, delay: 1000 + Math.random() * SPREAD });
    else if (attempt.signs) attempt.end(offline(reason || `closed (${code})`));
    else explain(attempt, link, reason || `closed (${code})`);
  };
  socket.onclose = closed;
  // Node 20 does not say that a socket that was never open is closed.
  socket.onerror = () => closed({});
}

/**
 * Finds out why a handshake failed, which browsers do not say, and RIG says as "Bad request." only:
 * the same connect over HTTP has a status and a text.
 */
async function explain(attempt: Attempt, link: Link, reason: string) {
  try {
    const response = await requestStream(attempt, link);
    attempt.end(response.ok ? offline(reason, true) : await refusal(response));
  } catch {
    attempt.end(offline(reason));
  }
}
