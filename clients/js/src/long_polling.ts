// Long polling. Two cookies name the connection and how far its client has read, a third one where
// to continue if the connection is gone.

import { refusal } from "./answer.js";
import { type Attempt, heard } from "./attempt.js";
import type { Link } from "./link.js";

export async function longPolling(attempt: Attempt, link: Link): Promise<void> {
  const { cookies } = link;
  const { signal } = attempt;
  attempt.watched = true;
  await alone(signal, link);
  while (!signal.aborted) {
    const cookie = [...cookies].map((pair) => pair.join("=")).join("; ");
    const response = await link.request("longpolling", {
      credentials: "include",
      headers: cookie ? { cookie } : {},
    });
    // Browsers keep cookies themselves and show none of them.
    const changes = response.headers.getSetCookie?.() ?? [];
    if (!response.ok) {
      store(cookies, changes);
      return attempt.end(await refusal(response));
    }
    let batch;
    try {
      batch = await response.json();
    } catch (error) {
      // A browser has stored already that these events were read.
      if (!changes.length && !signal.aborted) link.lost();
      throw error;
    }
    heard(attempt);
    // The answer of a connection that was just opened has no events; if it was cut, the next one
    // has the first event. It says whether there was a position: browsers show no cookies.
    const { events, resume, read } = batch;
    const fresh = !events || events[0]?.type === "rig.connection.create";
    if (!(await link.adopt(fresh, resume))) return;
    for (const event of events ?? []) {
      if (signal.aborted) return;
      link.take(event);
    }
    // Only now: if the answer is cut, the next poll asks for its events again.
    store(cookies, changes);
    link.taken(events ? read : read || "0");
  }
}

/**
 * Waits until no other page of this origin polls. They share their cookies, and would take events
 * from each other.
 */
async function alone(signal: AbortSignal, link: Link) {
  const locks = "location" in globalThis && navigator.locks;
  if (!locks) return;
  await new Promise<void>((held, failed) => {
    const hold = () => {
      held();
      return new Promise((released) => signal.addEventListener("abort", released));
    };
    locks.request(link.key, { signal }, hold).catch(failed);
  });
}

function store(cookies: Map<string, string>, changes: string[]) {
  for (const change of changes) {
    const [, name = "", value] = /^([^=;]+)=([^;]*)/.exec(change) ?? [];
    if (!value || /;\s*max-age=0/i.test(change)) cookies.delete(name);
    else cookies.set(name, value);
  }
}
