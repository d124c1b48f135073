// A stand-in for a gateway with a log of events: positions and ids, resume or gap, over Server-Sent
// Events, WebSocket (`rig.ids`) and long polling. Its connections can be cut at any byte.

import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";

/** A WebSocket message from a server (RFC 6455, section 5). */
function frame(opcode, text) {
  const payload = Buffer.from(text);
  const { length } = payload;
  const head =
    length < 126 ? Buffer.from([0x80 | opcode, length]) : Buffer.from([0x80 | opcode, 126, length >> 8, length & 255]);
  return Buffer.concat([head, payload]);
}

const closeFrame = (code, reason) => {
  const payload = Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
  return Buffer.concat([Buffer.from([0x88, payload.length]), payload]);
};

export class StandIn {
  /** All events, the oldest first: { position, event }. */
  log = [];
  position = 1000;
  ids = new Map();
  /** Where the log begins; older cursors are `expired`. */
  begin = 0;
  connections = new Set();
  requests = [];
  /** Reads ids that it has forgotten: with `false`, ids are neither sent nor read. */
  history = true;
  gapHasId = true;
  /** Which block of the replay after a PUT is cut, from 0. */
  cutLate;
  #names = 0;

  async listen() {
    this.server = createServer((request, response) => this.#http(request, response));
    this.server.on("upgrade", (request, socket) => this.#upgrade(request, socket));
    await new Promise((listening) => this.server.listen(0, "127.0.0.1", listening));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  async close() {
    for (const { socket } of this.connections) socket?.destroy();
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }

  /** The opaque id of a position: 22 characters, the same for all. */
  id(position) {
    for (const [id, known] of this.ids) if (known === position) return id;
    const id = randomBytes(17).toString("base64url").slice(0, 22);
    this.ids.set(id, position);
    return id;
  }

  /**
   * Publishes an event. `cut`: how many bytes of its block arrive before each connection breaks.
   */
  publish(id, { type = "t", cut } = {}) {
    const event = { specversion: "1.0", type, source: "/s", id: String(id), data: { text: "ä".repeat(id % 7) } };
    this.position++;
    this.log.push({ position: this.position, event });
    for (const connection of [...this.connections]) {
      if (this.#matches(connection, event)) connection.write(event, this.position, cut);
      if (cut !== undefined) connection.cut?.();
    }
  }

  /** Another life: its ids are others. */
  restart() {
    this.ids = new Map();
    this.#cutAll();
  }

  #cutAll() {
    for (const { socket } of this.connections) socket?.destroy();
    this.connections.clear();
  }

  /** Loses everything up to now. */
  evict() {
    this.begin = this.position;
    this.#cutAll();
  }

  heartbeat() {
    for (const connection of this.connections) connection.heartbeat?.(this.id(this.position));
  }

  kill() {
    for (const connection of [...this.connections]) connection.kill?.();
    this.connections.clear();
  }

  #matches({ types }, event) {
    return types.has(event.type);
  }

  #ofRig(type, data) {
    return { data, id: "r", source: "rig", specversion: "0.2", type };
  }

  /** What a connection gets first; `cursor` is an id, or nothing. */
  #welcome(connection, cursor) {
    const { write } = connection;
    write(this.#ofRig("rig.connection.create", { connection_token: connection.name, errors: [] }), this.position, undefined, cursor);
    write(this.#ofRig("rig.subscriptions_set", []));
    if (!cursor || !this.history) return;
    const since = this.ids.get(cursor);
    const gap = since === undefined ? "unknown" : since < this.begin ? "expired" : undefined;
    if (gap) return write(this.#ofRig("rig.gap", { reason: gap, since: null }), this.gapHasId ? this.position : undefined);
    const missed = this.log.filter(({ position, event }) => position > since && this.#matches(connection, event));
    for (const { position, event } of missed) write(event, position);
    write(this.#ofRig("rig.resumed", { events: missed.length }), this.position);
    // For a while, subscriptions that are added are resumed too (`write` with the cursor's id).
    connection.since = since;
    connection.cursor = cursor;
  }

  #put(request, response) {
    const name = decodeURIComponent(request.url.split("/").at(-2));
    const connection = [...this.connections].find((one) => one.name === name);
    let body = "";
    request.on("data", (piece) => (body += piece));
    request.on("end", () => {
      if (!connection) return void response.writeHead(410).end("Connection no longer exists.");
      const types = new Set(JSON.parse(body).subscriptions.map(({ eventType }) => eventType));
      const added = [...types].filter((type) => !connection.types.has(type));
      connection.types = types;
      response.writeHead(204).end();
      connection.write(this.#ofRig("rig.subscriptions_set", []));
      if (connection.since === undefined) return;
      const late = this.log.filter(({ position, event }) => position > connection.since && added.includes(event.type));
      for (const [n, { event }] of late.entries()) {
        const cut = n === this.cutLate ? 5 : undefined;
        connection.write(event, undefined, cut, undefined, connection.cursor);
        if (cut === undefined) continue;
        this.cutLate = undefined;
        return;
      }
    });
  }

  #http(request, response) {
    const url = new URL(request.url, this.url);
    this.requests.push({ url, headers: request.headers, method: request.method });
    if (request.method === "PUT") return this.#put(request, response);
    const list = JSON.parse(url.searchParams.get("subscriptions") ?? "[]");
    const types = new Set(list.map(({ eventType }) => eventType));
    if (url.pathname.endsWith("/longpolling")) return this.#poll(request, response, types, url.searchParams.get("read"));
    response.writeHead(200, { "content-type": "text/event-stream" });
    const { socket } = response;
    const connection = { name: `c${++this.#names}`, types, socket, cut: () => socket.destroySoon() };
    const remove = () => this.connections.delete(connection);
    connection.cut = () => {
      remove();
      response.destroy();
    };
    connection.write = (event, position, cut, cursor, id) => {
      // rig.connection.create repeats the cursor: nothing behind it has been sent yet.
      id ??= cursor || (position === undefined ? undefined : this.id(position));
      const lines = [`event: ${event.type}`, `data: ${JSON.stringify(event)}`];
      if (id !== undefined && this.history) lines.push(`id: ${id}`);
      const block = Buffer.from(`${lines.join("\n")}\n\n`);
      if (cut === undefined) return void response.write(block);
      remove();
      response.write(block.subarray(0, cut), () => socket.destroySoon());
      connection.cut = undefined;
    };
    connection.heartbeat = (id) => response.write(`: heartbeat\nid: ${id}\n\n`);
    connection.kill = () => response.end(`event: rig.session_killed\ndata: ${JSON.stringify(this.#ofRig("rig.session_killed"))}\nid:\n\n`);
    socket.on("close", remove);
    this.connections.add(connection);
    this.#welcome(connection, request.headers["last-event-id"]);
  }

  #upgrade(request, socket) {
    const url = new URL(request.url, this.url);
    this.requests.push({ url, headers: request.headers, method: "GET" });
    const offered = request.headers["sec-websocket-protocol"].split(/, */);
    const protocol = this.history ? offered.find((name) => name === "rig.ids" || name === "rig") : "rig";
    const key = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${key}\r\nsec-websocket-protocol: ${protocol}\r\n\r\n`,
    );
    socket.on("error", () => {});
    const list = JSON.parse(url.searchParams.get("subscriptions") ?? "[]");
    const types = new Set(list.map(({ eventType }) => eventType));
    const connection = { name: `c${++this.#names}`, types, socket };
    const remove = () => this.connections.delete(connection);
    connection.cut = () => {
      remove();
      socket.destroySoon();
    };
    connection.write = (event, position, cut, cursor, id) => {
      id ??= cursor || (position === undefined ? undefined : this.id(position));
      const json = JSON.stringify(event);
      const bytes = frame(1, id === undefined || protocol !== "rig.ids" ? json : `id: ${id}\n${json}`);
      if (cut === undefined) return void socket.write(bytes);
      remove();
      socket.write(bytes.subarray(0, cut), () => socket.destroySoon());
    };
    connection.heartbeat = (id) => socket.write(frame(1, `id: ${id}`));
    connection.kill = () => socket.end(closeFrame(1000, "Session killed."));
    socket.on("close", remove);
    socket.on("data", () => socket.end());
    this.connections.add(connection);
    this.#welcome(connection, url.searchParams.get("last_event_id"));
  }

  mailboxes = new Map();
  /** Of the next answer, only that many bytes arrive. */
  cutPoll;

  #poll(request, response, types, given) {
    const cookies = new Map((request.headers.cookie ?? "").split("; ").map((pair) => pair.split("=")));
    let mailbox = this.mailboxes.get(cookies.get("connection_token"));
    const answer = (body, read) => {
      const position = this.id(mailbox.position);
      const text = JSON.stringify(body);
      response.setHeader("set-cookie", [
        `connection_token=${mailbox.name}; path=/; HttpOnly`,
        `last_event_id=${read}; path=/; HttpOnly`,
        `position=${position}; path=/; HttpOnly`,
      ]);
      const { cutPoll } = this;
      this.cutPoll = undefined;
      if (cutPoll === undefined) return void response.end(text);
      response.setHeader("content-length", Buffer.byteLength(text));
      response.write(text.slice(0, cutPoll), () => response.socket.destroySoon());
    };
    if (!mailbox) {
      mailbox = { name: `c${++this.#names}`, types, events: [], position: this.position };
      mailbox.write = (event, position) => {
        mailbox.events.push(event);
        if (position !== undefined) mailbox.position = position;
        mailbox.wake?.();
      };
      this.mailboxes.set(mailbox.name, mailbox);
      this.connections.add(mailbox);
      this.#welcome(mailbox, cookies.get("position"));
      return answer(this.history && cookies.get("position") ? { resume: true } : "ok", 0);
    }
    const read = Number(given ?? cookies.get("last_event_id"));
    const respond = () => {
      clearTimeout(timer);
      mailbox.wake = undefined;
      const { length } = mailbox.events;
      answer({ last_event_id: "x", events: mailbox.events.slice(read), read: String(length) }, length);
    };
    const timer = setTimeout(respond, 200);
    if (mailbox.events.length > read) respond();
    else mailbox.wake = respond;
  }

  /** Forgets all mailboxes, as a restart does. */
  forgetMailboxes() {
    for (const mailbox of this.mailboxes.values()) {
      this.connections.delete(mailbox);
      mailbox.wake?.();
    }
    this.mailboxes.clear();
  }
}
