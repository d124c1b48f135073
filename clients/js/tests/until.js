// Waits for what tests wait for.

import assert from "node:assert/strict";
import { setTimeout as pass } from "node:timers/promises";

/** Waits until a condition holds; fails after `limit` ms. */
export async function until(condition, what, limit = 10_000) {
  const end = performance.now() + limit;
  for (;;) {
    const result = await condition();
    if (result) return result;
    assert.ok(performance.now() < end, `not within ${limit} ms: ${what ?? condition}`);
    await pass(5);
  }
}

/** Waits for a state of a connection, by name. */
export const reaches = (connection, name, limit) =>
  until(
    () => connection.state.name === name && connection.state,
    `state ${name}, is ${JSON.stringify(connection.state)}`,
    limit,
  ).catch((error) => {
    throw new Error(`${error.message}; is ${JSON.stringify(connection.state)}`);
  });

/** Records what happens to a connection, in order. */
export function record(connection) {
  const log = [];
  connection.on("*", (event) => log.push(event.id));
  connection.onGap((gap) => log.push(`gap ${gap.reason}`));
  connection.onResumed(({ events }) => log.push(`resumed ${events}`));
  const states = [connection.state.name];
  connection.onState(({ name }) => states.push(name));
  return { log, states };
}
