/** Delays that double from `base` to `cap` milliseconds, each drawn between half of it and all of it. */
export class Backoff {
  attempts = 0;

  constructor(
    readonly base = 100,
    readonly cap = 5000,
  ) {}

  /** Returns the next delay in milliseconds. The jitter keeps the services of a host from coming back at one moment. */
  next(): number {
    const delay = Math.min(this.cap, this.base * 2 ** Math.min(this.attempts, 30));
    this.attempts += 1;
    return delay * (0.5 + Math.random() / 2);
  }

  /** Begins again: the last attempt held. */
  reset(): void {
    this.attempts = 0;
  }
}
