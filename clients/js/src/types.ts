/**
 * How the connection is held; `auto` tries them in this order: `sse`, `websocket`, `longpolling`.
 */
export type TransportName = "sse" | "websocket" | "longpolling";

/**
 * What the connection is doing. The last five are final: the client does not try again until
 * {@link Connection.reconnect} is called.
 *
 * - `connecting`: asks for a token, or waits for the gateway's answer.
 * - `behind`: connected, and events that were missed are being delivered.
 * - `connected`: events are delivered as they are published.
 * - `offline`: the network or the gateway failed; it tries again at `retryAt`.
 * - `shutdown`: the node is shutting down; it connects again at `retryAt`, to whichever node
 *   answers.
 * - `killed`: an operator revoked or disconnected the session while it was connected.
 * - `revoked`: the gateway refused to connect, because the session is revoked.
 * - `expired`: the token has expired, and there is no newer one.
 * - `refused`: the gateway does not accept the token or the subscriptions.
 * - `closed`: {@link Connection.close} was called.
 */
export type StateName =
  | "connecting"
  | "behind"
  | "connected"
  | "offline"
  | "shutdown"
  | "killed"
  | "revoked"
  | "expired"
  | "refused"
  | "closed";

export interface State {
  readonly name: StateName;
  /** Why: the gateway's text, or the error of the network. Never contains the token. */
  readonly reason?: string;
  /** The HTTP status of the answer that led to this state. */
  readonly status?: number;
  /** The transport in use, once it is connected. */
  readonly transport?: TransportName;
  /** When the next attempt is made, in milliseconds since 1970. */
  readonly retryAt?: number;
}

/** An event of type `eventType`; with `oneOf`, only if all fields of one of its elements match. */
export interface Subscription {
  readonly eventType: string;
  readonly oneOf?: readonly Readonly<Record<string, unknown>>[];
}

/** An event as it was published (CloudEvents). */
export interface CloudEvent<Data = unknown> {
  readonly type: string;
  readonly id: string;
  readonly source: string;
  readonly specversion?: string;
  readonly time?: string;
  readonly data: Data;
  readonly [extension: string]: unknown;
}

/** Events may be missing: load the current state again. */
export interface Gap {
  /**
   * Of the gateway: `expired`, `unknown`, `restarted`, `elsewhere`, `revoked`, `too_many`, `lost`.
   * Of the client: `no_position`, if it reconnected without knowing where it stood (the gateway
   * keeps no history, or `resume` is `false`).
   */
  readonly reason: string;
  /** What the gateway says about the beginning of the gap. */
  readonly since?: unknown;
}

/** Why a token is needed. */
export interface TokenRequest {
  /**
   * `connect`: a new connection; `expiring`: the present token expires soon; `refused`: the gateway
   * did not accept it.
   */
  readonly why: "connect" | "expiring" | "refused";
  /** Aborted if the token is no longer needed. */
  readonly signal: AbortSignal;
}

type Maybe<Value> = Value | null | undefined;

export interface Options {
  /** The gateway, such as `https://gateway.example.com`. Relative to the page if there is one. */
  readonly url: string | URL;
  /**
   * The JWT, or a function that returns one. It is called for each connect and before the token
   * expires. If it returns nothing, the state is `refused`; if it throws, it is called again later.
   */
  readonly token?: string | ((request: TokenRequest) => Maybe<string> | Promise<Maybe<string>>);
  /** Default: none beside those that the gateway infers from the token. */
  readonly subscriptions?: readonly Subscription[];
  /** Default: `auto`. */
  readonly transport?: "auto" | TransportName;
  /** Whether to ask for the events that were missed. Default: `true`. */
  readonly resume?: boolean;
  /**
   * Whether requests have cookies, for gateways with `JWT_COOKIE`. Default: `same-origin`. Long
   * polling always sends them.
   */
  readonly credentials?: RequestCredentials;
  /**
   * `HEARTBEAT_INTERVAL` of the gateway, in ms: after 2.5 of them without a sign of life, the
   * client reconnects. Default: 15000.
   */
  readonly heartbeat?: number;
  /**
   * How long an attempt to connect may take, including the call for a token, in ms. Default: 15000.
   */
  readonly timeout?: number;
  /**
   * Before the n-th retry, the client waits between 0 and `min(first * 2^(n - 1), longest)` ms.
   * Default: 500 and 20000.
   */
  readonly backoff?: { readonly first?: number; readonly longest?: number };
  /** Closes the connection when aborted. */
  readonly signal?: AbortSignal;
  /**
   * Receives errors of handlers and of the renewal of tokens. Default: `reportError`, else
   * `console.error`.
   */
  readonly onError?: (error: unknown) => void;
  /** Replaces the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** Replaces the global `WebSocket`. */
  readonly WebSocket?: typeof WebSocket;
}

/** Removes a handler. */
export type Remove = () => void;

/** `Events` maps types of events to their data. */
export interface Connection<Events extends object = Record<string, unknown>> {
  readonly state: State;
  readonly subscriptions: readonly Subscription[];
  /**
   * Calls `handler` for each event of the type, or for each of a type without `rig.` if it is `*`.
   */
  on<Type extends keyof Events & string>(type: Type, handler: (event: CloudEvent<Events[Type]>) => unknown): Remove;
  on(type: "*", handler: (event: CloudEvent<Events[keyof Events]>) => unknown): Remove;
  /** Calls `handler` at each change of the state. */
  onState(handler: (state: State) => unknown): Remove;
  /** Calls `handler` if events may be missing. */
  onGap(handler: (gap: Gap) => unknown): Remove;
  /**
   * Calls `handler` after a reconnect that missed nothing; `events` is how many were delivered
   * late.
   */
  onResumed(handler: (resumed: { readonly events: number }) => unknown): Remove;
  /**
   * Replaces the subscriptions. Resolves once the gateway has accepted them; at once if there is no
   * connection, because the next one has them. Rejects if the gateway refuses them: the earlier
   * ones stay.
   */
  setSubscriptions(subscriptions: readonly Subscription[]): Promise<void>;
  /**
   * Connects again now, also from a final state; with a new token, if the token is not a function.
   */
  reconnect(token?: string): void;
  /** Closes the connection. No handler is called after the state has become `closed`. */
  close(): void;
  /** The events, until a final state. Throws if 10,000 wait. */
  [Symbol.asyncIterator](): AsyncIterator<CloudEvent<Events[keyof Events]>>;
}
