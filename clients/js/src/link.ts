// What a transport asks of the connection, beside its attempt.

export interface Link {
  /** The name of the lock of the pages that poll this gateway. */
  readonly key: string;
  readonly resume: boolean;
  readonly WebSocket: typeof WebSocket | undefined;
  /** The cookies of a client that has to keep them itself. */
  readonly cookies: Map<string, string>;
  /** The URL of an endpoint with the subscriptions. */
  url(endpoint: string): URL;
  /** Asks an endpoint to connect, with the token in the header and the subscriptions in the URL. */
  request(endpoint: string, options?: RequestInit): Promise<Response>;
  /**
   * Takes an event, as JSON or parsed, with its position; or the position alone, if the JSON is
   * empty.
   */
  take(event: string | object, id?: string): void;
  /**
   * Long polling: whether the cookies belong to a connection of this client; ends the attempt if
   * not. `fresh`: the gateway has opened it just now; `resumed`: with the position of an earlier
   * one.
   */
  adopt(fresh: boolean, resumed?: boolean): Promise<boolean>;
  /** Long polling: an answer has been taken as a whole; `read` is how far it goes. */
  taken(read?: string): void;
  /** Events of an answer were lost on the way, unless it can be asked for again. */
  lost(): void;
}
