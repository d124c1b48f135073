// One attempt to be connected: from the call for a token until the connection is lost.

import { type Outcome, offline } from "./answer.js";
import { sleep } from "./time.js";
import type { Subscription, TransportName } from "./types.js";

/** Everything about one attempt that is known to its transport and to the loop of attempts. */
export interface Attempt {
  readonly transport: TransportName;
  /** Where to resume; empty if there is no such place. */
  readonly cursor: string;
  /** Resolved when the attempt has come to its end. */
  readonly outcome: Promise<Outcome>;
  /** Aborted then. What a transport does after that has no effect. */
  readonly signal: AbortSignal;
  /** Ends the attempt; only the first call has an effect. */
  end(outcome: Outcome): void;
  token?: string;
  /** The gateway's name for the connection; empty or missing until it is known. */
  name?: string;
  /** The subscriptions that the last request to connect named, and those that are in force. */
  named?: readonly Subscription[];
  sent?: readonly Subscription[];
  /** Long polling: whether the gateway continues an earlier connection. */
  resumed?: boolean;
  /** Who says whether events were missed: the gateway, this client, or nothing was missed. */
  verdict?: "gateway" | "client";
  /** Whether the gateway sends signs of life that are seen here. */
  watched?: boolean;
  /**
   * The number of signs of life, and when the last one came, by the time of day, which counts
   * sleep.
   */
  signs: number;
  lastSign: number;
  connected?: boolean;
  /** Whether it has been connected for long enough to count as a success. */
  stable?: boolean;
  /** How long to wait before the next attempt, in ms, if the stream has named a time. */
  retry?: number;
  renewing?: boolean;
  probing?: boolean;
}

export function newAttempt(transport: TransportName, cursor: string): Attempt {
  const controller = new AbortController();
  const { signal } = controller;
  let resolve!: (outcome: Outcome) => void;
  return {
    transport,
    cursor,
    outcome: new Promise((resolved) => (resolve = resolved)),
    signal,
    end(outcome) {
      resolve(outcome);
      controller.abort();
    },
    signs: 0,
    lastSign: Date.now(),
  };
}

export function heard(attempt: Attempt) {
  attempt.signs++;
  attempt.lastSign = Date.now();
}

/**
 * Ends the attempt after 2.5 heartbeats (in ms) without a sign of life. Counts looks, not time: a
 * page that slept, or whose clock was set, looks once when it wakes up.
 */
export async function watch(attempt: Attempt, heartbeat: number) {
  for (let quiet = 0; quiet < 5 && !attempt.signal.aborted; ) {
    const { signs } = attempt;
    await sleep(heartbeat / 2, attempt.signal);
    quiet = signs === attempt.signs ? quiet + 1 : 0;
  }
  attempt.end(offline("no sign of life"));
}
