/** The most events that may wait for an iterator. */
const MAX_WAITING = 10_000;

/**
 * Returns a queue that one reader iterates over; `onClose` is called when it takes no more events.
 */
export function newQueue(onClose: () => void) {
  const items: unknown[] = [];
  let error: Error | undefined;
  let isClosed = false;
  let wake: (() => void) | undefined;

  /** What waits can still be read. */
  const close = () => {
    isClosed = true;
    onClose();
    wake?.();
  };
  const over = { value: undefined, done: true as const };
  return {
    close,

    push(item: unknown) {
      if (items.push(item) > MAX_WAITING) {
        items.length = 0;
        error = new Error(`${MAX_WAITING} events wait`);
        close();
      }
      wake?.();
    },

    async next(): Promise<IteratorResult<any>> {
      while (!items.length && !isClosed) await new Promise<void>((resolve) => (wake = resolve));
      if (error) throw error;
      return items.length ? { value: items.shift(), done: false } : over;
    },

    async return(): Promise<IteratorResult<any>> {
      items.length = 0;
      close();
      return over;
    },
  };
}
