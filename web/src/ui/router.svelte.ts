import { parseRoute, type Route } from "./route.ts";

/** Where the app is, kept in step with the address of the page. */
export class Router {
  #route = $state.raw<Route>(parseRoute(location.pathname, location.hash));
  #depth = 0; // pages of this app that lie behind this one

  get route(): Route {
    return this.#route;
  }

  /** Listens to the browser's own buttons and to links; returns the way to stop. */
  start(): () => void {
    this.#depth = readDepth();
    const moved = () => {
      this.#depth = readDepth();
      this.#read();
    };
    const clicked = (event: MouseEvent) => this.#follow(event);
    addEventListener("popstate", moved);
    document.addEventListener("click", clicked);
    return () => {
      removeEventListener("popstate", moved);
      document.removeEventListener("click", clicked);
    };
  }

  /** Opens an address of the app; replace leaves no step behind. */
  go(path: string, replace = false): void {
    if (!replace && path === location.pathname) return;
    if (replace) history.replaceState({ depth: this.#depth }, "", path);
    else history.pushState({ depth: ++this.#depth }, "", path);
    this.#read();
  }

  /** One step back when that stays in the app, else to the given address. */
  back(otherwise: string): void {
    if (this.#depth > 0) history.back();
    else this.go(otherwise, true);
  }

  #read(): void {
    this.#route = parseRoute(location.pathname, location.hash);
  }

  #follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (link === null || link.target !== "" || link.origin !== location.origin || link.hash !== "") return;
    event.preventDefault();
    this.go(link.pathname);
  }
}

function readDepth(): number {
  const state: unknown = history.state;
  if (typeof state === "object" && state !== null && "depth" in state && typeof state.depth === "number") {
    return state.depth;
  }
  return 0;
}
