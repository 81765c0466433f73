// What the state needs of the browser it runs in. Tests put other ones in its place.

/** What happens to the page. */
export interface PageEvents {
  online(): void;
  offline(): void;
  /** It came to the front. */
  shown(): void;
  /** It will not run for a while: the browser freezes it or keeps it for going back. */
  frozen(): void;
  /** It runs again after that. */
  thawed(): void;
}

/** A channel to the other tabs of this browser; nothing comes back to who posted it. */
export interface TabChannel {
  postMessage(m: unknown): void;
  onmessage: ((e: MessageEvent) => unknown) | null;
  close(): void;
}

export interface Platform {
  /** Name of the database: one account lives in it. */
  readonly database: string;
  /** What browser and system call themselves. */
  readonly agent: string;
  readonly secure: boolean;
  readonly fetch: typeof fetch;
  readonly locks: Pick<LockManager, "request">;
  webSocket(url: string, protocol: string): WebSocket;
  peerConnection(c: RTCConfiguration): RTCPeerConnection;
  channel(name: string): TabChannel;
  /** Whether there is a network at all. */
  online(): boolean;
  /** Loads the page anew, with the newest code. */
  reload(): void;
  /** Calls back until the returned function is called. */
  watch(events: PageEvents): () => void;
}

/** The browser that shows this page. */
export const browserPlatform: Platform = {
  database: "parley",
  get agent() {
    return navigator.userAgent;
  },
  get secure() {
    return globalThis.isSecureContext;
  },
  fetch: (input, init) => fetch(input, init),
  get locks() {
    return navigator.locks;
  },
  webSocket: (url, protocol) => new WebSocket(url, protocol),
  peerConnection: (c) => new RTCPeerConnection(c),
  channel: (name) => new BroadcastChannel(name),
  online: () => navigator.onLine,
  reload: () => location.reload(),
  watch,
};

function watch(events: PageEvents): () => void {
  const ended = new AbortController();
  const on = (target: EventTarget, name: string, f: (e: Event) => void): void =>
    target.addEventListener(name, f, { signal: ended.signal });
  on(globalThis, "online", () => events.online());
  on(globalThis, "offline", () => events.offline());
  on(document, "visibilitychange", () => {
    if (document.visibilityState === "visible") events.shown();
  });
  on(document, "freeze", () => events.frozen());
  on(document, "resume", () => events.thawed());
  on(globalThis, "pagehide", (e) => {
    if ((e as PageTransitionEvent).persisted) events.frozen();
  });
  on(globalThis, "pageshow", (e) => {
    if ((e as PageTransitionEvent).persisted) events.thawed();
  });
  return () => ended.abort();
}
