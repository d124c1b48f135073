/**
 * Waits for a time, in ms, or until the signal is aborted. Leaves neither a timer nor a listener
 * behind.
 */
export function sleep(time: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, time);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
