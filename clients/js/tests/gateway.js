// A real gateway, on free ports of the loopback address. RIG is its binary.

import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";

const binary = process.env.RIG ?? new URL("../../../target/debug/rig", import.meta.url).pathname;
const SECRET = "a-secret-only-for-the-tests-of-the-client";

/** Of published events, also of all gateways of a test, so that none looks like another. */
let ids = 0;

const children = [];
process.once("exit", () => children.forEach((child) => child.kill("SIGKILL")));

/**
 * Starts a gateway with these flags; `ports` and the folder of an earlier one are used again. If it
 * has no folder, a restart forgets everything.
 */
export async function startGateway(flags = [], ports = ["0", "0"], folder = "memory") {
  const child = spawn(
    binary,
    ["--inbound-bind", "127.0.0.1", "--inbound-port", ports[0], "--api-http-port", ports[1], "--data-dir", folder, ...flags],
    { env: { ...process.env, JWT_SECRET_KEY: SECRET }, stdio: ["ignore", "ignore", "pipe"] },
  );
  children.push(child);
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const found = {};
  const lines = createInterface({ input: child.stderr });
  await new Promise((resolve, reject) => {
    exited.then((code) => reject(new Error(`the gateway has left: ${code}`)));
    lines.on("line", (line) => {
      const [, name, port] = /port_name="(\w+)" address="127\.0\.0\.1:(\d+)"/.exec(line) ?? [];
      if (name) found[name] = port;
      if (found.inbound && found.internal) resolve();
    });
  });
  const url = `http://127.0.0.1:${found.inbound}`;
  const api = `http://127.0.0.1:${found.internal}`;

  /** Publishes an event; returns its id. */
  async function publish(type, data = {}) {
    const id = `e${++ids}`;
    const event = { specversion: "1.0", type, source: "/tests", id, data };
    const answer = await fetch(`${url}/_rig/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(event),
    });
    if (answer.status !== 202) throw new Error(`${answer.status} ${await answer.text()}`);
    return id;
  }

  return {
    url,
    ports: [found.inbound, found.internal],
    publish,

    /** Revokes the tokens with a claim that were issued up to now, in whole seconds. */
    async revokeClaim(claim, value) {
      const answer = await fetch(`${api}/v4/revocations`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ claim, value, issuedUpTo: Math.floor(Date.now() / 1000), validityInSeconds: 7200 }),
      });
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    },

    /** Revokes a session. */
    async revoke(session) {
      const answer = await fetch(`${api}/v3/session-blacklist`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ sessionId: session, validityInSeconds: 600 }),
      });
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    },

    /** How many connections there are. */
    async connections() {
      const text = await (await fetch(`${api}/v4/sessions`)).json();
      return text.sessions.reduce((sum, session) => sum + session.connectionCount, 0);
    },

    /** Ends the gateway. */
    async stop(signal = "SIGKILL") {
      child.kill(signal);
      await exited;
    },
  };
}

/** Mints a token. */
export function token(claims, expiresIn = "1h") {
  const flags = Object.entries(claims).flatMap(([name, value]) => ["--claim", `${name}=${value}`]);
  return execFileSync(binary, ["token", "--secret", SECRET, "--expires-in", expiresIn, ...flags], { encoding: "utf8" }).trim();
}
