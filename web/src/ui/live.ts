import { createSubscriber } from "svelte/reactivity";

/** A value of the state as a signal: reading `current` in a template or an effect follows its changes. */
export class Live<T> {
  readonly #follow: () => void;
  readonly #read: () => T;

  constructor(source: { subscribe(changed: () => void): () => void }, read: () => T) {
    this.#follow = createSubscriber((changed) => source.subscribe(changed));
    this.#read = read;
  }

  get current(): T {
    this.#follow();
    return this.#read();
  }
}

/** The time, renewed every `period` ms as long as something on the screen shows it. */
export class Clock {
  readonly #follow: () => void;

  constructor(period: number) {
    this.#follow = createSubscriber((tick) => {
      const timer = setInterval(tick, period);
      return () => clearInterval(timer);
    });
  }

  get now(): number {
    this.#follow();
    return Date.now();
  }
}

/** For days and times of the list. */
export const minutes = new Clock(20_000);

/** For countdowns. */
export const seconds = new Clock(500);
