// The client of the gateway's inbound port: events over Server-Sent Events, WebSocket or long
// polling.

import { open } from "./connection.js";
import type { Connection, Options } from "./types.js";

export type * from "./types.js";

/** Opens a connection. Handlers that are registered in the same turn miss nothing. */
export const connect: <Events extends object = Record<string, any>>(options: Options) => Connection<Events> = open;
