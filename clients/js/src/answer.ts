// What an answer of the gateway, or the lack of one, means for the connection.

import type { StateName } from "./types.js";

/** How an attempt to be connected came to its end. */
export interface Outcome {
  readonly state: StateName;
  readonly reason: string;
  readonly status?: number;
  /** The time to wait, in ms, if the gateway has named one. */
  readonly delay?: number;
  /** This transport does not work here: `auto` tries the next one. */
  readonly unusable?: boolean;
  /** Another token may be accepted. */
  readonly token?: boolean;
}

/** Limits of what `retry-after` and `retry` can ask for, in ms. Timers cannot wait for 25 days. */
const LONGEST_DELAY = 3_600_000;

export const bounded = (delay: number) => Math.min(Math.max(delay, 0), LONGEST_DELAY);

export const offline = (reason: string, unusable?: boolean): Outcome => ({ state: "offline", reason, unusable });

// The first words are RIG's.
export const KILLED: Outcome = { state: "killed", reason: "Session killed." };
export const EXPIRED: Outcome = { state: "expired", reason: "Session expired.", token: true };
export const INVALID: Outcome = { state: "refused", reason: "There is no valid token." };
export const LEAVING: Outcome = { state: "shutdown", reason: "The node is shutting down." };

/** The outcome of an answer that is no success. The texts are those of RIG, and documented. */
export async function refusal(response: Response): Promise<Outcome> {
  const { status, headers } = response;
  const text = (await response.text().catch(() => "")).slice(0, 1000).trim();
  const reason = text || `status ${status}`;
  if (status >= 500 || status === 408 || status === 425 || status === 429) {
    return {
      state: text === LEAVING.reason ? "shutdown" : "offline",
      reason,
      status,
      delay: retryAfter(headers.get("retry-after")),
    };
  }
  const isToken = text.includes("JWT");
  let state: StateName = "refused";
  if (text === KILLED.reason) state = "killed";
  else if (text.includes("blacklisted JWT")) state = "revoked";
  else if (text === EXPIRED.reason || text.includes("token expired")) state = "expired";
  return {
    state,
    reason,
    status,
    token: status === 401 || state === "expired" || (state === "refused" && isToken),
    unusable: status === 404 || status === 426,
  };
}

/** Reads seconds or a date (RFC 9110, section 10.2.3). */
function retryAfter(value: any): number | undefined {
  const delay = value && (isNaN(value) ? Date.parse(value) - Date.now() : value * 1000);
  return delay >= 0 ? bounded(delay) : undefined;
}
