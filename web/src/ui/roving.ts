/**
 * Moves the focus inside a list that is one Tab stop: arrows to the neighbours, Home and End to the ends.
 * Returns the element that has the focus now, or null when the key means something else.
 */
export function move(event: KeyboardEvent, items: readonly HTMLElement[]): HTMLElement | null {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return null;
  const target = event.target;
  const at = items.findIndex((item) => target instanceof Node && item.contains(target));
  const to = targetIndex(event.key, at, items.length);
  const item = at < 0 || to === undefined ? undefined : items[to];
  if (item === undefined) return null;
  event.preventDefault();
  item.focus();
  return item;
}

/** The index that a key leads to from another, or undefined for a key that does not move. */
export function targetIndex(key: string, at: number, count: number): number | undefined {
  switch (key) {
    case "ArrowDown":
      return Math.min(at + 1, count - 1);
    case "ArrowUp":
      return Math.max(at - 1, 0);
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return undefined;
  }
}
