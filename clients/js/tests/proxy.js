// A TCP proxy in front of a gateway: the network between it and its clients, which breaks.

import { connect, createServer } from "node:net";

/** Starts a proxy to a port of the loopback address. */
export async function startProxy(port) {
  const sockets = new Set();
  let isDown = false;
  let cuts = 0;
  let pieces = 0;
  /** Returns after how many bytes of answers a connection breaks. */
  let budget = () => Infinity;

  const server = createServer((client) => {
    if (isDown) return void client.resetAndDestroy();
    const target = connect(port, "127.0.0.1");
    let left = budget();
    const end = () => {
      client.destroy();
      target.destroy();
    };
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.on("error", end);
      socket.on("close", () => sockets.delete(socket));
    }
    client.on("close", end);
    client.on("data", (bytes) => target.write(bytes));
    target.on("data", (bytes) => {
      const piece = bytes.subarray(0, left);
      left -= piece.length;
      pieces++;
      client.write(piece);
      if (left > 0) return;
      cuts++;
      target.destroy();
      client.destroySoon();
    });
    // What has come before still arrives.
    target.on("close", () => client.destroySoon());
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    url: `http://127.0.0.1:${server.address().port}`,

    /** How many connections broke because their bytes were used up. */
    get cuts() {
      return cuts;
    },

    /** In how many pieces answers have come so far. */
    get pieces() {
      return pieces;
    },

    /** Lets each connection that begins from now on break after so many bytes of answers. */
    limit: (bytes) => (budget = bytes),

    /** Breaks all connections. */
    cut,

    /** Breaks all connections; until `up`, none is accepted. */
    down() {
      isDown = true;
      cut();
    },
    up: () => (isDown = false),

    async stop() {
      cut();
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** Returns random whole numbers below a limit, which a seed repeats. */
export const randomFrom = (seed) => (limit) => (seed = (seed * 48_271) % 2_147_483_647) % limit;
