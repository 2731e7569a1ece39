const FIRST_MS = 250;
const LAST_MS = 60_000;

/** How long to wait after so many failures, in milliseconds: 250, doubling, at most 60,000. */
export function backoff(failures: number): number {
  return Math.min(LAST_MS, FIRST_MS * 2 ** Math.max(0, failures - 1));
}

/** Waits so many milliseconds, or until `signal` says to stop. Never rejects. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
