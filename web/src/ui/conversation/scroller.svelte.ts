import { tick } from "svelte";
import type { Item } from "../timeline.ts";
import { LineHeights, lineAt, type Range, rangeFor } from "./lines.ts";

const endSlack = 48; // px from the end that still count as being there
const olderAhead = 1600; // px before the start at which older messages are asked for
const lineUnderTop = 72; // px below the upper edge where a line goes that is brought there
const readMargin = 24; // px of a message that have to be on the screen for it to count as seen
const dayShown = 1200; // ms after scrolling that the day stays on the screen

/** What is drawn of the conversation: some lines, and room for the others. */
export interface Drawn {
  readonly items: readonly Item[];
  readonly above: number; // px
  readonly below: number;
}

/** A line and where its upper edge is on the screen, in px from the edge of the viewport. */
interface Anchor {
  readonly key: string;
  readonly offset: number;
}

/**
 * Keeps the place in a conversation: at the end it follows what comes, elsewhere nothing moves, and older messages
 * grow upwards out of sight. Draws the lines around the place only. Asks for older ones before the reader reaches
 * the start.
 */
export class Scroller {
  drawn = $state.raw<Drawn>({ items: [], above: 0, below: 0 });
  atEnd = $state(true);
  stuck = $state(false); // the last attempt to fetch older messages failed
  lastVisible = $state(""); // key of the lowest message on the screen
  day = $state(0); // time of the highest one while scrolling, 0 else

  readonly #older: () => Promise<void>;
  readonly #heights = new LineHeights();
  #viewport: HTMLElement | undefined;
  #list: HTMLElement | undefined;
  #items: readonly Item[] = [];
  #tops = new Float64Array(1);
  #range: Range = { from: 0, to: 0 };
  #anchor: Anchor | undefined;
  #following = true;
  #fetching = false;
  #dayTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(older: () => Promise<void>) {
    this.#older = older;
  }

  /** Starts to follow sizes and scrolling; returns the way to stop. */
  watch(viewport: HTMLElement, list: HTMLElement): () => void {
    this.#viewport = viewport;
    this.#list = list;
    // A keyboard that opens or a growing composer makes the viewport smaller: the place stays.
    const sizes = new ResizeObserver(() => this.settle());
    sizes.observe(viewport);
    sizes.observe(list);
    const scrolled = () => this.#scrolled();
    viewport.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      sizes.disconnect();
      viewport.removeEventListener("scroll", scrolled);
      clearTimeout(this.#dayTimer);
      this.#viewport = undefined;
    };
  }

  /** Tells whether a line has been drawn before. */
  knows(key: string): boolean {
    return this.#heights.knows(key);
  }

  /** Takes the lines as they are from now on, before they are drawn; goes to the end when asked to. */
  take(items: readonly Item[], toEnd: boolean): void {
    this.#note();
    this.#items = items;
    this.#tops = this.#heights.tops(items);
    if (toEnd) this.#following = true;
    this.#draw(this.#top());
  }

  /** Puts everything where it belongs after lines were drawn or sizes changed. */
  settle(): void {
    const viewport = this.#viewport;
    if (viewport === undefined) return;
    this.#measure();
    this.#restore();
    this.#look();
  }

  /** Goes to the end. */
  toEnd(): void {
    const viewport = this.#viewport;
    if (viewport === undefined) return;
    const near = this.#left() < 1.5 * viewport.clientHeight;
    if (near && this.#range.to === this.#items.length) {
      viewport.scrollTo({ top: viewport.scrollHeight, behavior: motion() });
      return;
    }
    this.#following = true;
    this.#draw(this.#top());
    void tick().then(() => this.settle());
  }

  /** Brings a line under the upper edge; resolves to its element. */
  async show(key: string): Promise<HTMLElement | null> {
    const at = this.#items.findIndex((item) => item.key === key);
    if (at < 0) return null;
    this.#following = false;
    this.#anchor = { key, offset: lineUnderTop };
    this.#draw(this.#top());
    await tick();
    this.settle();
    return this.#element(key);
  }

  /** Tries to fetch older messages once more. */
  again(): void {
    this.stuck = false;
    this.#look();
  }

  /** The upper edge of the screen in the height of all lines. */
  #top(): number {
    const viewport = this.#viewport;
    const height = viewport?.clientHeight ?? 800;
    const end = (this.#tops.at(-1) ?? 0) - height;
    if (this.#following || this.#anchor === undefined) return end;
    const { key, offset } = this.#anchor;
    const at = this.#items.findIndex((item) => item.key === key);
    return at < 0 ? end : (this.#tops[at] ?? 0) - offset;
  }

  #draw(top: number): void {
    const bottom = top + (this.#viewport?.clientHeight ?? 800);
    const range = rangeFor(this.#tops, top, bottom, this.#range);
    const items = this.#items.slice(range.from, range.to);
    const above = this.#tops[range.from] ?? 0;
    const below = (this.#tops.at(-1) ?? 0) - (this.#tops[range.to] ?? 0);
    const { drawn } = this;
    this.#range = range;
    const same = drawn.items.length === items.length && drawn.items.every((item, i) => item === items[i]);
    if (!same || drawn.above !== above || drawn.below !== below) this.drawn = { items, above, below };
  }

  /** Notes the highest message on the screen and where it is; days and the New line go where messages make them go. */
  #note(): void {
    const viewport = this.#viewport;
    if (viewport === undefined || this.#following) return;
    const { top: edge, bottom } = viewport.getBoundingClientRect();
    for (const element of this.#list?.querySelectorAll<HTMLElement>(":scope > [data-key]") ?? []) {
      const box = element.getBoundingClientRect();
      if (box.bottom <= edge) continue;
      if (box.top < bottom) this.#anchor = { key: element.dataset["key"] ?? "", offset: box.top - edge };
      return;
    }
  }

  #measure(): void {
    const list = this.#list;
    if (list === undefined) return;
    this.#heights.setWidth(list.clientWidth);
    for (const element of this.#elements())
      this.#heights.measure(element.dataset["line"] ?? "", element.getBoundingClientRect().height);
    this.#tops = this.#heights.tops(this.#items);
  }

  /** Moves the content so that the noted line is where it was. */
  #restore(): void {
    const viewport = this.#viewport;
    if (viewport === undefined) return;
    if (this.#following) {
      viewport.scrollTop = viewport.scrollHeight;
      return;
    }
    const element = this.#anchor && this.#element(this.#anchor.key);
    if (!element || this.#anchor === undefined) return;
    const moved = element.getBoundingClientRect().top - viewport.getBoundingClientRect().top - this.#anchor.offset;
    if (Math.abs(moved) >= 0.5) viewport.scrollTop += moved;
  }

  #scrolled(): void {
    this.#following = this.#left() <= endSlack;
    this.#anchor = undefined;
    this.#look();
    this.#showDay();
  }

  /** Reads the place from the screen and draws what is near it. */
  #look(): void {
    const viewport = this.#viewport;
    if (viewport === undefined) return;
    this.atEnd = this.#left() <= endSlack;
    this.#following = this.atEnd;
    this.#note();
    const jumped = this.#anchor === undefined && !this.#following; // only room is on the screen
    const top = jumped ? viewport.scrollTop - (this.#list?.offsetTop ?? 0) : this.#top();
    this.#draw(top);
    this.lastVisible = this.#messageAt(top + viewport.clientHeight - readMargin);
    if (viewport.scrollTop < olderAhead && !this.stuck) void this.#fetchOlder();
  }

  /** The last message that begins at or above y, "" without one. */
  #messageAt(y: number): string {
    for (let i = lineAt(this.#tops, y); i >= 0; i--) {
      const item = this.#items[i];
      if (item?.kind === "message") return item.key;
    }
    return "";
  }

  #showDay(): void {
    const highest = this.#items[lineAt(this.#tops, this.#top())]; // a day that is there itself needs no second label
    this.day = !this.#following && highest?.kind === "message" ? highest.message.time : 0;
    clearTimeout(this.#dayTimer);
    this.#dayTimer = setTimeout(() => {
      this.day = 0;
    }, dayShown);
  }

  async #fetchOlder(): Promise<void> {
    if (this.#fetching) return;
    this.#fetching = true;
    const before = this.#items.length;
    try {
      await this.#older();
    } catch {
      this.stuck = true;
    } finally {
      this.#fetching = false;
    }
    if (this.#items.length !== before) this.#look(); // one page may not have filled the screen
  }

  /** px between the screen and the end. */
  #left(): number {
    const viewport = this.#viewport;
    return viewport === undefined ? 0 : viewport.scrollHeight - viewport.clientHeight - viewport.scrollTop;
  }

  #elements(): Iterable<HTMLElement> {
    return this.#list?.querySelectorAll<HTMLElement>(":scope > [data-line]") ?? [];
  }

  #element(key: string): HTMLElement | null {
    return this.#list?.querySelector<HTMLElement>(`:scope > [data-line="${CSS.escape(key)}"]`) ?? null;
  }
}

function motion(): ScrollBehavior {
  return matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
}
