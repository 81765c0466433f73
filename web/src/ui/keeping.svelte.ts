import type { View } from "../state/types.ts";

const putOffKey = "parley.keep"; // when the offer was put off, ms since 1970
const quietFor = 3 * 86_400_000; // ms

/** When to offer that an account with a name only gets a password. */
class Keeping {
  #putOff = $state(stored());

  /** After the first own message, unless it was put off a while ago. */
  isOffered(view: View): boolean {
    if (view.me.keys !== "here" || Date.now() - this.#putOff < quietFor) return false;
    return view.conversations.some((row) => row.preview !== null);
  }

  putOff(): void {
    this.#putOff = Date.now();
    try {
      localStorage.setItem(putOffKey, String(this.#putOff));
    } catch {
      // A browser that forbids storage forgets it with the page.
    }
  }
}

export const keeping = new Keeping();

function stored(): number {
  try {
    return Number(localStorage.getItem(putOffKey) ?? 0);
  } catch {
    return 0;
  }
}
