/** The most events of one resume. */
const MAX_SEEN = 10_000;

/**
 * Returns a function that says whether an event was dispatched before, since a position to which
 * the gateway may return: if subscriptions are added soon after a resume, their missed events carry
 * the id of its cursor, and come again after another cut, together with those that had other ids.
 */
export function seenSince(cursor: string) {
  const keys = new Set<string>();
  return {
    cursor,
    forget: () => keys.clear(),
    repeats(id: string | undefined, source: unknown, eventId: unknown) {
      if (!cursor || id === undefined) return false;
      const name = `${source}\n${eventId}`;
      const key = id === cursor ? name : id;
      if (keys.has(key) || keys.has(name)) return true;
      if (keys.size < MAX_SEEN) keys.add(key);
      return false;
    },
  };
}
