/**
 * Measures milliseconds over sleep and changed clocks: performance.now stands still while some systems sleep, and
 * Date.now jumps when somebody sets the clock. What it shows is at least the time that passed, and seldom more.
 */
export class Stopwatch {
  #steady = performance.now();
  #wall = Date.now();

  get elapsed(): number {
    return Math.max(performance.now() - this.#steady, Date.now() - this.#wall);
  }

  restart(): void {
    this.#steady = performance.now();
    this.#wall = Date.now();
  }
}
