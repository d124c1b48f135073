// Handlers of events and of what happens to the connection.

/** What is not an event: its key is no string, so that no type of an event is the same. */
export const STATE = 0;
export const GAP = 1;
export const RESUMED = 2;

type Key = string | number;
type Handler = (argument: any) => unknown;

export function handlers(onError: (error: unknown) => void) {
  const all = new Map<Key, Set<{ call: Handler }>>();
  return {
    /** Adds a handler and returns how to remove it. One that is added twice is called twice. */
    add(key: Key, call: Handler): () => void {
      const set = all.get(key) ?? new Set();
      const entry = { call };
      all.set(key, set.add(entry));
      return () => void set.delete(entry);
    },

    /**
     * Calls all handlers that are still there; one that fails does not keep the others from being
     * called.
     */
    call(key: Key, argument: unknown) {
      const set = all.get(key);
      for (const entry of [...(set ?? [])]) {
        if (!set!.has(entry)) continue;
        try {
          (entry.call(argument) as Promise<unknown> | undefined)?.catch?.(onError);
        } catch (error) {
          onError(error);
        }
      }
    },
  };
}
