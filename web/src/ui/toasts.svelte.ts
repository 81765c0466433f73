import { failureText } from "./failures.ts";

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly bad: boolean;
}

const lifetime = 7_000; // ms
const most = 3; // older ones make room

/** Short notes at the edge of the screen; the newest last. */
class Toasts {
  #list = $state.raw<readonly Toast[]>([]);
  #next = 1;

  get list(): readonly Toast[] {
    return this.#list;
  }

  say(text: string): void {
    this.#add(text, false);
  }

  /** Tells a person why something did not work. */
  fail(error: unknown): void {
    this.#add(failureText(error), true);
  }

  dismiss(id: number): void {
    this.#list = this.#list.filter((toast) => toast.id !== id);
  }

  #add(text: string, bad: boolean): void {
    const id = this.#next++;
    const others = this.#list.filter((toast) => toast.text !== text);
    this.#list = [...others.slice(1 - most), { id, text, bad }];
    setTimeout(() => this.dismiss(id), lifetime);
  }
}

export const toasts = new Toasts();
