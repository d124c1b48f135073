// A connection to the gateway: one loop of attempts, of which one at most is alive.

import { EXPIRED, INVALID, KILLED, offline, type Outcome, refusal } from "./answer.js";
import { type Attempt, newAttempt, watch } from "./attempt.js";
import { GAP, handlers, RESUMED, STATE } from "./handlers.js";
import type { Link } from "./link.js";
import { longPolling } from "./long_polling.js";
import { newQueue } from "./queue.js";
import { seenSince } from "./seen.js";
import { serverSentEvents } from "./sse.js";
import { sleep } from "./time.js";
import type { Connection, Options, State, Subscription, TokenRequest, TransportName } from "./types.js";
import { webSocket } from "./websocket.js";

const TRANSPORTS = { sse: serverSentEvents, websocket: webSocket, longpolling: longPolling };
const NAMES = Object.keys(TRANSPORTS) as TransportName[];

/**
 * A connection that lasts this long counts as a success, and the next retry does not have to wait,
 * in ms. Longer than the gateway resumes what a change of subscriptions adds (10 s).
 */
const STABLE = 15_000;

/** The longest list of subscriptions in a URL, in characters; proxies refuse URLs of 8 KiB. */
const MAX_QUERY = 4000;

/** Ids that can be sent back. Another one counts as no position. */
const ID = /^[\x21-\x7e]{1,1024}$/;

/** Errors about headers contain their values, so a token is checked before. */
const TOKEN = /^[\x21-\x7e]+$/;

/** Longer than a poll waits for events, in ms. */
const POLL = 6000;
const POLLING = "longpolling";

const LATE = "no answer in time";

const FINAL = ["killed", "revoked", "expired", "refused", "closed"];

/** The error of {@link open}'s `put`, if the gateway refuses subscriptions or a token. */
interface Refused extends Error {
  readonly outcome?: Outcome;
}

export function open(options: Options): Connection<any> {
  const timeout = options.timeout ?? 15_000;
  const heartbeat = options.heartbeat ?? 15_000;
  const resume = options.resume ?? true;
  const onError = options.onError ?? ((error) => (globalThis.reportError ?? console.error)(error));
  const isAuto = (options.transport ?? "auto") === "auto";
  /**
   * What pages of this origin have in common: the lock and the name of the long-polling connection.
   */
  const key = `rig ${options.url}`;
  const getToken = typeof options.token === "function" ? options.token : undefined;

  let state: State = { name: "connecting" };
  let subscriptions = options.subscriptions ?? [];
  const { add, call } = handlers(onError);

  /** Where this client stands: the id of the last block whose event was dispatched. */
  let position = "";
  let seen = seenSince("");
  const cookies = new Map<string, string>();
  /** The name of the long-polling connection that the cookies belong to; empty if it is to come. */
  let mailbox: string | undefined;
  /**
   * How far it has read that connection, if the gateway says so. Browsers store the cookies of an
   * answer that is cut.
   */
  let read: string | undefined;
  /** Whether it was ever connected. */
  let welcomed = false;
  let token = getToken ? undefined : (options.token as string | undefined);
  /** Whether the gateway has refused a token since the last success. */
  let isRefused = false;
  /** The transport in use, as an index, and how many do not work here, one after the other. */
  let used = 0;
  let unusable = 0;
  let failures = 0;
  let puts: Promise<unknown> = Promise.resolve();

  /** Aborted when the loop is to stop; `undefined` if there is none. */
  let run: AbortController | undefined;
  let attempt: Attempt | undefined;
  /** Cuts the wait for the next attempt short; `undefined` if there is none. */
  let pause: AbortController | undefined;

  function start() {
    const { signal } = (run = new AbortController());
    listen(signal);
    loop(signal).catch(onError);
  }

  /** Stops everything; the state is final. */
  function finish(state: State) {
    run?.abort();
    run = undefined;
    pause?.abort();
    attempt?.end(offline(""));
    attempt = undefined;
    enter(state);
  }

  function enter(next: State) {
    const before = JSON.stringify(state);
    state = next;
    if (JSON.stringify(next) !== before) call(STATE, next);
  }

  async function loop(signal: AbortSignal) {
    // Handlers that are registered behind `connect` miss nothing.
    await undefined;
    while (!signal.aborted) {
      const transport = isAuto ? NAMES[used]! : (options.transport as TransportName);
      const current = (attempt = newAttempt(transport, resume ? position : ""));
      if (seen.cursor !== current.cursor) seen = seenSince(current.cursor);
      enter({ ...state, name: "connecting", retryAt: undefined });
      attach(current).catch((error) => current.end((error as Refused).outcome ?? offline(message(error))));
      const outcome = await current.outcome;
      if (signal.aborted) return;
      attempt = undefined;
      const delay = delayAfter(current, outcome);
      const { state: name, reason, status } = outcome;
      if (delay === undefined) {
        if (name === "killed" || name === "revoked") {
          position = "";
          read = undefined;
          cookies.clear();
        }
        return finish({ name, reason, status });
      }
      if (!delay) continue;
      pause = new AbortController();
      enter({ name: FINAL.includes(name) ? "connecting" : name, reason, status, retryAt: Date.now() + delay });
      await sleep(delay, pause.signal);
      pause = undefined;
    }
  }

  /** Returns how long to wait for the next attempt, in ms; `undefined` if there is none. */
  function delayAfter({ stable, connected, retry }: Attempt, outcome: Outcome): number | undefined {
    const { state: name, delay } = outcome;
    if (isAuto && outcome.unusable && !connected) {
      used = (used + 1) % NAMES.length;
      if (++unusable % NAMES.length) return 0;
    }
    if (FINAL.includes(name)) {
      // Another token may help, once.
      if (!outcome.token || isRefused || !getToken) return undefined;
      isRefused = true;
      if (stable || !connected) return 0;
    }
    if (name === "connecting") return 0;
    // A node that shuts down names another time for each client.
    const named = delay ?? retry;
    if (named !== undefined && name === "shutdown") return named;
    const { first = 500, longest = 20_000 } = options.backoff ?? {};
    // The exponent has a limit, so that no number of failures overflows. Those to whom the gateway
    // says the same second do not come at once.
    const jitter = Math.random() * Math.min(longest, first * 2 ** Math.min(failures++, 30));
    return Math.ceil((named ?? 0) + jitter);
  }

  async function attach(attempt: Attempt) {
    const { signal, transport } = attempt;
    let asked = false;
    // The first poll of a connection that goes on may wait for events.
    sleep(transport === POLLING ? timeout + POLL : timeout, signal).then(() => {
      if (!attempt.connected) attempt.end(offline(asked ? LATE : "no token", asked && !attempt.name));
    });
    const given = getToken ? await askForToken(attempt, isRefused ? "refused" : "connect") : token;
    asked = true;
    if (signal.aborted) return;
    token = given;
    if (options.token !== undefined && !TOKEN.test(token ?? "")) {
      return attempt.end(INVALID);
    }
    attempt.token = token;
    const link: Link = {
      key,
      resume,
      WebSocket: options.WebSocket ?? globalThis.WebSocket,
      cookies,
      url(endpoint) {
        const url = endpointUrl(endpoint);
        attempt.named = subscriptions;
        const list = JSON.stringify(subscriptions);
        // A longer list follows by PUT.
        if (encodeURIComponent(list).length > MAX_QUERY) attempt.named = undefined;
        // An empty list says that none will follow: what was missed comes at once.
        else url.searchParams.set("subscriptions", list);
        // Heartbeats carry the position from the first connection on.
        if (resume) url.searchParams.set("resume", "true");
        if (read && transport === POLLING) url.searchParams.set("read", read);
        return url;
      },
      request: (endpoint, init = {}) => request(link.url(endpoint), attempt, token, init),
      take: (event, id) => take(attempt, event, id),
      adopt: (fresh, resumed) => adopt(attempt, fresh, resumed),
      taken(given) {
        read = given;
        if (attempt.sent === subscriptions) settle(attempt);
      },
      lost: () => read || !welcomed || call(GAP, { reason: "lost" }),
    };
    await TRANSPORTS[transport](attempt, link);
  }

  async function askForToken({ signal }: Attempt, why: TokenRequest["why"]) {
    return (await getToken!({ why, signal })) ?? undefined;
  }

  function endpointUrl(endpoint: string) {
    const base = String(options.url).replace(/\/+$/, "");
    return new URL(`${base}/_rig/v1/connection/${endpoint}`, globalThis.location?.href);
  }

  function request(url: URL, { signal }: Attempt, token: string | undefined, init: RequestInit) {
    const { fetch = globalThis.fetch, credentials } = options;
    return fetch(url, {
      credentials,
      cache: "no-store",
      signal,
      ...init,
      headers: { ...(init.headers as object), ...(token && { authorization: `Bearer ${token}` }) },
    });
  }

  /** Takes an event, and its position once the handlers have been called. */
  function take(attempt: Attempt, content: string | object, id: string | undefined) {
    if (attempt.signal.aborted) return;
    if (content) {
      try {
        const event = typeof content === "string" ? JSON.parse(content) : content;
        // The names of CloudEvents 0.1 are others.
        const { source, type = event.eventType } = event;
        if (!type) throw new Error("an event has no type");
        if (source === "rig") control(attempt, type, event.data ?? {}, id);
        else if (seen.repeats(id, source, event.id ?? event.eventID)) return;
        call(type, event);
        if (!/^rig\./.test(type)) call("*", event);
      } catch (error) {
        onError(error);
      }
    }
    // An empty id means that there is no position any more.
    if (id !== undefined) position = ID.test(id) ? id : "";
  }

  function control(attempt: Attempt, type: string, data: any, id: string | undefined) {
    const { cursor, end, transport } = attempt;
    switch (type) {
      case "rig.connection.create":
        attempt.name = data.connection_token;
        attempt.sent = attempt.named;
        // Without a position, or a history, the gateway says nothing of what was missed.
        attempt.verdict = !welcomed ? undefined : attempt.resumed || (cursor && id !== undefined) ? "gateway" : "client";
        if (attempt.verdict !== "gateway") position = "";
        welcomed = true;
        if (transport === POLLING) remember(attempt.name!);
        break;
      case "rig.subscriptions_set":
        if (attempt.sent !== subscriptions) put(attempt, token).catch(onError);
        else if (transport !== POLLING) settle(attempt);
        break;
      case "rig.resumed":
        attempt.verdict = undefined;
        settle(attempt);
        call(RESUMED, { events: data.events });
        break;
      case "rig.gap":
        // The place where the gap begins is of no more use.
        if (position === cursor) position = "";
        if (attempt.verdict) {
          attempt.verdict = undefined;
          settle(attempt);
        }
        call(GAP, data);
        break;
      case "rig.session_expiring":
        renew(attempt);
        break;
      case "rig.session_killed":
        end(KILLED);
        break;
      case "rig.session_expired":
        end(EXPIRED);
        break;
      case "rig.lease_lost":
        end(offline("Lease lost."));
    }
  }

  /** Records that the connection is open, and what is known about missed events. */
  function settle(attempt: Attempt) {
    const { signal, transport, verdict } = attempt;
    if (signal.aborted || !attempt.name) return;
    if (!attempt.connected) {
      attempt.connected = true;
      if (attempt.watched) watch(attempt, transport === POLLING ? Math.max(heartbeat, POLL) : heartbeat);
      sleep(STABLE, signal).then(() => {
        if (signal.aborted) return;
        attempt.stable = true;
        failures = 0;
        // The gateway no longer returns to the cursor.
        if (position !== attempt.cursor) seen.forget();
      });
    }
    isRefused = false;
    unusable = 0;
    enter({ name: verdict === "gateway" ? "behind" : "connected", transport });
    if (verdict !== "client") return;
    attempt.verdict = undefined;
    call(GAP, { reason: "no_position" });
  }

  /** Keeps the name of the long-polling connection, also for the page that polls next. */
  function remember(name: string) {
    mailbox = name;
    storage()?.setItem(key, name);
  }

  /** See {@link Link.adopt}. */
  async function adopt(attempt: Attempt, fresh: boolean, resumed?: boolean) {
    attempt.resumed ||= resumed;
    // Its name comes with the first events.
    if (fresh) mailbox = attempt.name = "";
    if (attempt.name || mailbox === "") return true;
    attempt.name = mailbox ??= storage()?.getItem(key) ?? undefined;
    if (!mailbox) {
      attempt.end(offline("another page polls", true));
      return false;
    }
    // The subscriptions, and the user, may be others than those of the connection: the gateway
    // says.
    await put(attempt, token);
    welcomed = true;
    return !attempt.signal.aborted;
  }

  /** Sends the subscriptions for an open connection, with a token that renews it. */
  function put(attempt: Attempt, token: string | undefined): Promise<void> {
    const { transport, signal, end } = attempt;
    const result = puts.then(async () => {
      const sent = subscriptions;
      const path = transport === "websocket" ? "ws" : transport;
      let outcome: Outcome | undefined;
      try {
        const response = await Promise.race([
          request(endpointUrl(`${path}/${encodeURIComponent(attempt.name!)}/subscriptions`), attempt, token, {
            method: "PUT",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ subscriptions: sent }),
          }),
          sleep(timeout, signal),
        ]);
        if (response?.ok) return void (attempt.sent = sent);
        outcome = response ? await refusal(response) : offline(LATE);
      } catch (error) {
        outcome = offline(message(error));
      }
      const { state: name, status, reason } = outcome;
      if (FINAL.includes(name) && status !== 410 && !reason.startsWith("Invalid connection token")) {
        throw Object.assign(new Error(reason), { outcome });
      }
      // The next connection has them.
      end(offline(reason));
    });
    puts = result.catch(() => {});
    return result;
  }

  /**
   * Renews the token of an open connection. A renewal that comes late does not outlive its attempt.
   */
  async function renew(attempt: Attempt) {
    const { signal, end } = attempt;
    if (attempt.renewing || !getToken) return;
    attempt.renewing = true;
    for (let pause = 1000; !signal.aborted; pause = Math.min(pause * 2, 30_000)) {
      try {
        const next = await askForToken(attempt, "expiring");
        if (signal.aborted || !next) break;
        if (next !== token && TOKEN.test(next)) {
          await put(attempt, next);
          token = next;
          break;
        }
      } catch (error) {
        const { outcome } = error as Refused;
        // It is another user's, or one too many for this connection: it has to be a new one.
        if ([403, 409].includes(outcome?.status!)) end({ ...outcome!, state: "connecting" });
        if (!signal.aborted) onError(error);
      }
      await sleep(pause, signal);
    }
    attempt.renewing = false;
  }

  /** Listens to what browsers say about the network and about sleep. */
  function listen(signal: AbortSignal) {
    const on = (target: EventTarget | undefined, type: string, handler: (event: any) => unknown) =>
      target?.addEventListener?.(type, handler, { signal });
    on(options.signal, "abort", connection.close);
    const scope = globalThis as unknown as EventTarget;
    const { document } = globalThis;
    on(scope, "online", check);
    // Browsers are wrong about it at times: it does not end a connection that works.
    on(scope, "offline", probe);
    on(scope, "pageshow", (event) => event.persisted && check());
    on(document, "resume", check);
    on(document, "visibilitychange", () => {
      if (document.hidden || (attempt && Date.now() - attempt.lastSign < 1.5 * heartbeat)) return;
      check();
    });
  }

  /** Tries again at once, or finds out whether the connection still works. */
  function check() {
    pause?.abort();
    probe();
  }

  /** Finds out whether an open connection still works: a PUT has an event in consequence. */
  async function probe() {
    const current = attempt;
    if (!current?.connected || current.probing) return;
    const { signs, signal } = current;
    current.probing = true;
    await put(current, token).catch(() => {});
    await sleep(timeout, signal);
    current.probing = false;
    if (signs === current.signs) current.end(offline(LATE));
  }

  // Fails here, not in the loop, if it is no URL.
  endpointUrl("");
  const connection: Connection<any> = {
    get state() {
      return state;
    },
    get subscriptions() {
      return subscriptions;
    },
    on: add,
    onState: (handler) => add(STATE, handler),
    onGap: (handler) => add(GAP, handler),
    onResumed: (handler) => add(RESUMED, handler),

    async setSubscriptions(list: readonly Subscription[]) {
      const before = subscriptions;
      const wanted = (subscriptions = [...list]);
      // Without an open connection, they are sent as soon as there is one.
      if (!attempt?.name) return;
      try {
        await put(attempt, token);
      } catch (error) {
        if (subscriptions === wanted) subscriptions = before;
        throw error;
      }
    },

    reconnect(next) {
      if (next) token = next;
      failures = unusable = 0;
      isRefused = false;
      if (!run) return start();
      pause?.abort();
      attempt?.end({ state: "connecting", reason: "" });
    },

    close: () => finish({ name: "closed" }),

    [Symbol.asyncIterator]() {
      const queue = newQueue(() => removes.forEach((remove) => remove()));
      const removes = [add("*", queue.push), add(STATE, () => run || queue.close())];
      if (!run) queue.close();
      return queue;
    },
  };
  if (options.signal?.aborted) connection.close();
  else start();
  return connection;
}

/**
 * The storage that pages of an origin share, as they do cookies; unless there is none or it is
 * forbidden.
 */
function storage() {
  try {
    // Node keeps cookies in the client; its storage warns.
    return "location" in globalThis ? localStorage : undefined;
  } catch {
    return undefined;
  }
}

/** The text of an error; Node has the reason of a failed fetch in its cause. */
function message(error: any): string {
  return String(error?.cause?.message || error?.message || error);
}
