import type { MessageView } from "../../state/types.ts";

const endSlack = 48; // px from the end that still count as being there
const olderAhead = 800; // px before the start at which older messages are asked for

/**
 * Keeps the place in a conversation: at the end it follows what comes, elsewhere nothing moves, and older messages
 * grow upwards out of sight. Asks for older ones before the reader reaches the start.
 */
export class Scroller {
  atEnd = $state(true);
  stuck = $state(false); // the last attempt to fetch older messages failed
  moved = $state(0); // grows with every look at the place
  lastSeen = $state(""); // key of the newest message when the end was last on the screen

  readonly #older: () => Promise<void>;
  #viewport: HTMLElement | undefined;
  #fetching = false;
  #firstKey = "";
  #lastKey = "";
  #fromEnd = 0; // distance between the end of the content and the upper edge, before a change
  #following = true;

  constructor(older: () => Promise<void>) {
    this.#older = older;
  }

  /** Starts to follow sizes and scrolling; returns the way to stop. */
  watch(viewport: HTMLElement, content: HTMLElement): () => void {
    this.#viewport = viewport;
    // A keyboard that opens or a growing composer makes the viewport smaller: the end stays in view.
    const sizes = new ResizeObserver(() => {
      if (this.#following) viewport.scrollTop = viewport.scrollHeight;
      this.look();
    });
    sizes.observe(viewport);
    sizes.observe(content);
    const scrolled = () => this.look();
    viewport.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      sizes.disconnect();
      viewport.removeEventListener("scroll", scrolled);
      this.#viewport = undefined;
    };
  }

  /** Notes the place before the messages change. */
  before(): void {
    const viewport = this.#viewport;
    if (viewport !== undefined) this.#fromEnd = viewport.scrollHeight - viewport.scrollTop;
  }

  /** Restores the place after they changed. What was just written here is always shown. */
  after(firstKey: string, last: MessageView | undefined): void {
    const viewport = this.#viewport;
    if (viewport === undefined) return;
    const grewUp = this.#firstKey !== "" && firstKey !== this.#firstKey;
    const written = last !== undefined && last.key !== this.#lastKey && last.own && last.live;
    this.#firstKey = firstKey;
    this.#lastKey = last?.key ?? "";
    if (written || this.#following) viewport.scrollTop = viewport.scrollHeight;
    else if (grewUp) viewport.scrollTop = viewport.scrollHeight - this.#fromEnd;
    this.look();
  }

  /** Goes to the end. */
  toEnd(smooth = false): void {
    const viewport = this.#viewport;
    this.#following = true;
    viewport?.scrollTo({ top: viewport.scrollHeight, behavior: smooth ? motion() : "instant" });
    this.look();
  }

  /** Brings an element under the upper edge. */
  show(element: HTMLElement, smooth = false): void {
    const viewport = this.#viewport;
    if (viewport === undefined) return;
    const above = element.getBoundingClientRect().top - viewport.getBoundingClientRect().top;
    viewport.scrollTo({ top: viewport.scrollTop + above - 72, behavior: smooth ? motion() : "instant" });
    this.look();
  }

  /** Tries to fetch older messages once more. */
  again(): void {
    this.stuck = false;
    this.look();
  }

  /** Reads the place from the screen. */
  look(): void {
    const viewport = this.#viewport;
    if (viewport === undefined) return;
    const left = viewport.scrollHeight - viewport.clientHeight - viewport.scrollTop;
    this.atEnd = left <= endSlack;
    this.#following = this.atEnd;
    this.moved++;
    if (viewport.scrollTop < olderAhead && !this.stuck) void this.#fetchOlder();
  }

  async #fetchOlder(): Promise<void> {
    if (this.#fetching) return;
    this.#fetching = true;
    const first = this.#firstKey;
    try {
      await this.#older();
    } catch {
      this.stuck = true;
    } finally {
      this.#fetching = false;
    }
    if (this.#firstKey !== first) this.look(); // one page may not have filled the screen
  }
}

function motion(): ScrollBehavior {
  return matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
}
