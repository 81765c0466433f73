// Tells a person outside the page that something came. Asked for only after something did come unseen, from a click.

/** `unsupported`: this browser shows none for pages. */
export type Permission = NotificationPermission | "unsupported";

const choiceKey = "parley.notices"; // "on", "off" or nothing: not asked yet
const visibleLock = "parley-visible"; // held by every tab that is on the screen

class Notices {
  permission = $state<Permission>(typeof Notification === "undefined" ? "unsupported" : Notification.permission);
  #choice = $state(stored());
  #missed = $state(false);

  /** Whether they are shown. */
  get on(): boolean {
    return this.#choice === "on" && this.permission === "granted";
  }

  /** Whether it is time to ask: something came unseen, and nothing was decided. */
  get offered(): boolean {
    return this.#missed && this.#choice === "" && this.permission === "default";
  }

  /** Asks the browser, which asks the person; resolves to whether they are shown from now on. Only from a click. */
  async turnOn(): Promise<boolean> {
    if (this.permission === "unsupported") return false;
    this.permission = await Notification.requestPermission();
    this.#choose(this.permission === "granted" ? "on" : "off");
    return this.on;
  }

  turnOff(): void {
    this.#choose("off");
  }

  /** Somebody wrote. Shows a notice when no tab is on the screen; the newest of a conversation replaces the others. */
  async arrived(conversation: string, name: string, text: string, open: () => void): Promise<void> {
    if (document.visibilityState === "visible" || (await visibleElsewhere())) return;
    this.#missed = true;
    if (!this.on) return;
    try {
      const notice = new Notification(name, { body: text, tag: conversation, icon: "/icon.svg" });
      notice.onclick = () => {
        window.focus();
        open();
        notice.close();
      };
    } catch {
      this.permission = "unsupported"; // Chrome on Android shows those of service workers only
    }
  }

  #choose(choice: "on" | "off"): void {
    this.#choice = choice;
    try {
      localStorage.setItem(choiceKey, choice);
    } catch {
      // A browser that forbids storage forgets the choice with the page.
    }
  }
}

export const notices = new Notices();

/** Lets other tabs know while this one is on the screen; returns the way to stop. */
export function announceVisible(): () => void {
  let release: (() => void) | undefined;
  const change = () => {
    release?.();
    release = undefined;
    if (document.visibilityState !== "visible") return;
    const held = new Promise<void>((done) => {
      release = done;
    });
    navigator.locks.request(visibleLock, { mode: "shared" }, () => held).catch(() => undefined); // the page is going
  };
  change();
  document.addEventListener("visibilitychange", change);
  return () => {
    document.removeEventListener("visibilitychange", change);
    release?.();
  };
}

async function visibleElsewhere(): Promise<boolean> {
  const { held = [] } = await navigator.locks.query();
  return held.some((lock) => lock.name === visibleLock);
}

function stored(): string {
  try {
    return localStorage.getItem(choiceKey) ?? "";
  } catch {
    return "";
  }
}
