// What the interface sees of the state: plain values that can be cloned between tabs, and the commands
// that change them. Times are milliseconds since 1970 UTC, ids are UUID text.

/** How a message travelled, or will travel. */
export type PathKind = "direct" | "turn" | "relay" | "waiting";

/** Where a message is; `sealed` waits for the key, `gone` is blanked at the relay, `only-here` was refused by it. */
export type MessageState =
  | "waiting"
  | "sent"
  | "delivered"
  | "read"
  | "failed"
  | "received"
  | "sealed"
  | "gone"
  | "only-here";

export type Relation = "none" | "asked" | "asking" | "accepted";

export type PresenceKind = "online" | "away" | "offline";

/**
 * What is known about somebody being who they say: no identity yet, safety number not compared, compared, or another
 * identity than the one known was shown, which holds sending.
 */
export type SafetyState = "unknown" | "open" | "compared" | "changed";

export interface Person {
  readonly id: string;
  readonly name: string; // as shown: what this account calls them, else what they call themselves
  readonly ownName: string; // what they call themselves
  readonly localName: string; // what this account calls them, "" for none
  readonly avatar: string; // address of their picture, "" without one
  readonly userName: string; // "" for an account that has none
  readonly relation: Relation;
  readonly note: string; // of their request
  readonly since: number;
  readonly blocked: boolean; // by this account; they never learn of it
  readonly invitation: string; // code of the own invitation that they came by, "" for none
  readonly hidesAddress: boolean; // links to them hide this account's addresses, whatever holds for others
  readonly identityChanged: boolean; // sending is held
  readonly identityPending?: boolean; // they have not accepted this account's new identity: what is written to them waits
  readonly safety: SafetyState;
  readonly compared: number; // when the safety number was compared, 0: it was not
  readonly conversation: string; // "" unless accepted
  readonly presence: PresenceKind;
  readonly lastSeen: number; // 0: unknown
  readonly devices: number; // connected ones
  readonly deleted?: boolean; // the account is gone
}

export interface Me {
  readonly account: string;
  readonly device: string;
  readonly name: string;
  readonly avatar: string; // address of the own picture, "" without one
  readonly userName: string; // "" until the account is kept
  readonly admin: boolean;
  readonly host: string;
  /** What changes the account: its password, this browser alone (no password yet), or another device of such an account. */
  readonly keys: "password" | "here" | "elsewhere";
  readonly recovery: boolean; // there is a recovery code
  readonly earlier: boolean; // messages from before a reset are closed here
}

/** The best link to a person's devices. */
export interface LinkView {
  readonly state: "none" | "connecting" | "open";
  readonly path: PathKind; // where the next message goes
  readonly delay: number; // ms of round trip, 0: unknown
  readonly protocol: string; // "udp", "tcp", "tls", "" unless open
  readonly port: number; // of the other end or the TURN server
  readonly since: number;
}

export interface ConversationRow {
  readonly id: string;
  readonly person: string; // account of the other one
  readonly unread: number;
  readonly readSeq: number; // own read mark
  readonly preview: MessageView | null; // last message
  readonly draft: string;
  readonly typing: boolean;
  readonly waiting: number; // own messages that are still on this device only
  readonly time: number; // for ordering, newest first
  readonly link: LinkView;
  readonly missing?: readonly string[]; // accounts of which messages may be missing: the relay has gaps that stay
}

export interface MessageView {
  readonly key: string; // stable for the life of the message: device + id
  readonly id: string;
  readonly conversation: string;
  readonly from: string; // account
  readonly own: boolean;
  readonly text: string; // "" when not known or not readable
  readonly known: boolean; // false: a kind that needs a newer Parley
  readonly time: number;
  readonly seq: number; // 0 until the relay numbered it
  readonly path: PathKind;
  readonly state: MessageState;
  readonly failure: string; // why it failed
  readonly live: boolean; // arrived while the page was open: may animate
  readonly replaced?: boolean; // the relay's copy says something else than the direct one did
}

/** Part of a conversation, oldest first. */
export interface Timeline {
  readonly conversation: string;
  readonly messages: readonly MessageView[];
  readonly atStart: boolean; // nothing is older
  readonly loading: boolean; // older ones are being fetched
}

export interface Invitation {
  readonly code: string;
  readonly link: string; // "" when made on another device: only that one knows the secret
  readonly uses: number; // for how many people it was made
  readonly usesLeft: number;
  readonly expires: number;
  readonly revoked: boolean;
}

/** What this account does not show; each works both ways. */
export interface Privacy {
  readonly hidePresence: boolean; // online, away and last seen
  readonly hideRead: boolean; // how far one has read
  readonly hideTyping: boolean;
}

/** What two people compare: twelve groups of four digits, and what the QR code says of them. */
export interface SafetyNumber {
  readonly digits: string;
  readonly text: string;
}

export interface DeviceView {
  readonly id: string;
  readonly name: string;
  readonly created: number;
  readonly lastUsed: number;
  readonly address: string; // IP address of that, "" when it is not known
  readonly current: boolean;
}

/** A link that lets one new device in. */
export interface DeviceLink {
  readonly code: string;
  readonly link: string;
  readonly expires: number;
}

/** A new device that asks to be let in. */
export interface AskingDevice {
  readonly code: string; // of the link that it used
  readonly name: string;
  readonly expires: number;
}

/** `offline`: no network; `unreachable`: the server does not answer, open links still work. */
export type Connection =
  | { readonly kind: "connected" }
  | { readonly kind: "connecting" }
  | { readonly kind: "offline" }
  | { readonly kind: "unreachable"; readonly nextTry: number } // time of the next attempt
  | { readonly kind: "signed-out"; readonly suspended?: boolean } // the server ended this device's session
  | { readonly kind: "superseded" }; // the same device is connected elsewhere

/** Everything but the messages. A new object whenever something in it changed. */
export interface View {
  readonly me: Me;
  readonly connection: Connection;
  readonly people: Readonly<Record<string, Person>>;
  readonly conversations: readonly ConversationRow[]; // newest first
  readonly invitations: readonly Invitation[];
  readonly devices: readonly DeviceView[];
  readonly asking: readonly AskingDevice[]; // by links that this browser shows
  readonly inviteDismissed: boolean;
  readonly hideAddress: boolean; // links go through TURN alone
  readonly privacy: Privacy;
}

/** What a person is told when a command fails; `code` is stable, `detail` plain English from the server. */
export class CommandError extends Error {
  readonly code: FailureCode;
  readonly retryAfter: number; // ms, 0: none
  constructor(code: FailureCode, detail = "", retryAfter = 0) {
    super(detail === "" ? code : detail);
    this.name = "CommandError";
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export type FailureCode =
  | "offline"
  | "unreachable"
  | "not-found"
  | "wrong-password"
  | "weak-parameters"
  | "rate-limited"
  | "name-invalid"
  | "name-taken"
  | "expired"
  | "used-up"
  | "registration-closed"
  | "identity-changed"
  | "too-long"
  | "signed-out"
  | "not-here" // another device has the keys that it takes
  | "other-server"
  | "cut-off" // not a whole link
  | "last-admin"
  | "too-many"
  | "wrong-code" // user name or recovery code
  | "forbidden"
  | "not-ready" // another device of the account has to be online first
  | "untrusted" // the server answered something that does not verify
  | "internal";

/** The session of one account: what every page behind the log-in works with. Any tab may hold one. */
export interface Session {
  view(): View;
  /** Calls back after every change of view(); returns the way to stop. */
  subscribe(changed: () => void): () => void;

  /** Opens a conversation for reading: its newest messages, links to its people, read marks. close() when it leaves the screen. */
  open(conversation: string): OpenConversation;

  /** Seals and stores a text; it goes out by itself. Rejects with too-long, identity-changed, not-found. */
  send(conversation: string, text: string): Promise<void>;
  retry(message: MessageView): Promise<void>;
  discard(message: MessageView): Promise<void>;
  typing(conversation: string, writing: boolean): void;
  setDraft(conversation: string, text: string): void;

  find(name: string): Promise<Person>; // by exact user name
  ask(account: string, note: string): Promise<void>;
  accept(account: string): Promise<void>;
  decline(account: string): Promise<void>;
  /**
   * Takes the new identity of somebody of whom identityChanged is true; they cannot read what was before. With the digits of
   * the safety number that was compared it rejects with identity-changed when the server shows yet another one.
   */
  acceptIdentity(account: string, digits?: string): Promise<void>;
  /** Opens the history from before this account was reset, with the recovery code of then, on all its devices. */
  recoverFormer(code: string): Promise<void>;
  invite(uses: number, days: number): Promise<Invitation>;
  revokeInvitation(code: string): Promise<void>;
  /** Uses somebody's invitation with this account; resolves to the conversation. */
  join(link: string): Promise<string>;

  /** What this account calls somebody, "" for what they call themselves. */
  setNickname(account: string, name: string): Promise<void>;
  /** Ends a contact on both sides, or withdraws a request. */
  remove(account: string): Promise<void>;
  /** To somebody blocked one looks offline, and what they write waits. */
  block(account: string, on: boolean): Promise<void>;
  /** The safety number with a person, of the identity that was shown last. Rejects with not-found. */
  safety(account: string): Promise<SafetyNumber>;
  /** Notes on all devices that these digits were compared. Rejects with identity-changed if they are not the number now. */
  markCompared(account: string, digits: string): Promise<void>;

  setName(nickname: string): Promise<void>;
  /** Shows a picture to contacts: a JPEG, PNG or WebP of at most 64 KiB; null takes it away. */
  setAvatar(image: Uint8Array<ArrayBuffer> | null): Promise<void>;
  setPrivacy(privacy: Privacy): Promise<void>;
  changePassword(old: string, password: string): Promise<void>;
  /** Gives an account that has only a name a user name and a password. */
  keep(userName: string, password: string): Promise<void>;
  /** Makes a recovery code in the place of the one before; resolves to its text, which is nowhere else. */
  makeRecovery(password: string): Promise<string>;
  /** Takes a device out of the account, at once; password is "" for an account without. */
  revokeDevice(device: string, password: string): Promise<void>;
  /** Takes out all devices but this one. */
  revokeOthers(password: string): Promise<void>;
  /** Makes a link by which one new device may ask to be let in: View.asking. */
  linkDevice(): Promise<DeviceLink>;
  /** Lets in who asks by a link. */
  admitDevice(code: string, password: string): Promise<void>;
  /** Takes a link back. */
  refuseDevice(code: string): Promise<void>;
  /** Deletes the account at the server, and everything in this browser. */
  deleteAccount(password: string): Promise<void>;
  /** Everything that this device may read, as one JSON file. */
  exportAll(): Promise<Blob>;
  /** Ends this device's session and removes everything from this browser. */
  signOut(): Promise<void>;

  /** Tries the server now instead of at the next turn. */
  retryNow(): void;
  /** Tries to make the link to a person direct now. */
  tryDirect(account: string): Promise<void>;
  /** The person uses the page (for presence). */
  active(): void;
  /** Makes all links go through TURN alone, on all devices, so that nobody learns their addresses. */
  hideAddress(on: boolean): Promise<void>;
  /** The same for links to one person. */
  hideAddressFrom(account: string, on: boolean): Promise<void>;

  /** For administrators; everybody else gets not-found. */
  readonly admin: Admin;
}

/** An account as an administrator sees it: never what it writes, or to whom. */
export interface PlaceUser {
  readonly account: string;
  readonly userName: string;
  readonly name: string;
  readonly admin: boolean;
  readonly created: number;
  readonly lastSeen: number;
  readonly suspended: number; // since when, 0: it is not
  readonly devices: number;
  readonly bytes: number; // of sealed messages that are kept of it
}

/** An invitation as an administrator sees it. */
export interface PlaceInvitation {
  readonly code: string;
  readonly account: string; // who made it
  readonly name: string; // of them
  readonly uses: number;
  readonly usesLeft: number;
  readonly created: number;
  readonly expires: number;
  readonly revoked: boolean;
}

export interface PlaceStats {
  readonly accounts: number;
  readonly seenToday: number;
  readonly suspended: number;
  readonly devices: number;
  readonly connections: number;
  readonly conversations: number;
  readonly messages: number;
  readonly bytes: number; // of the database
  readonly invitations: number; // that can still be used
}

export interface PlaceSettings {
  readonly registration: "open" | "invite" | "closed";
  readonly name: string; // of the place
}

/** What an administrator may do. Nothing here reaches contacts, conversations or contents. */
export interface Admin {
  /** A page of accounts whose names hold the query, behind a mark of an earlier page ("" for the first). */
  users(query: string, after: string): Promise<{ readonly users: readonly PlaceUser[]; readonly after: string }>;
  suspend(account: string, on: boolean): Promise<void>;
  /** Makes a link with which somebody who lost everything starts again, once. */
  reset(account: string): Promise<string>;
  invitations(after: string): Promise<{ readonly invitations: readonly PlaceInvitation[]; readonly after: string }>;
  revokeInvitation(code: string): Promise<void>;
  stats(): Promise<PlaceStats>;
  settings(): Promise<PlaceSettings>;
  /** Changes what is named and resolves to what holds then. */
  change(settings: Partial<PlaceSettings>): Promise<PlaceSettings>;
}

export interface OpenConversation {
  timeline(): Timeline;
  subscribe(changed: () => void): () => void;
  /** Loads a page of older messages. */
  older(): Promise<void>;
  /** Everything up to this number was seen; with a key, everything up to that message, which may have no number yet. */
  markRead(seq: number, key?: string): void;
  close(): void;
}

/** What somebody sees who opens an invitation. */
export interface OpenInvitation {
  readonly account: string; // of the inviter
  readonly inviter: string; // their name
  readonly place: string;
  readonly usable: boolean; // it can make an account
  readonly usesLeft: number;
  readonly expires: number;
}

export interface ServerFacts {
  readonly name: string;
  readonly version: string;
  readonly build: string; // SHA-256 of the page's build that the server says it serves, "" when it does not say
  readonly registration: "open" | "invite" | "closed";
  readonly secure: boolean; // the page may use what browsers keep from plain HTTP
}

/** What stands before a session: the pages for people who are not logged in. */
export interface Gate {
  /** The session stored in this browser, or null. */
  resume(): Promise<Session | null>;
  server(): Promise<ServerFacts>;
  /** Who invites, read from an invitation link of this server. Rejects with not-found, expired, used-up. */
  openInvitation(code: string, secret: string): Promise<OpenInvitation>;
  /** Joins with a name only. */
  joinByName(code: string, secret: string, nickname: string): Promise<{ session: Session; conversation: string }>;
  /** Makes an account with a password; setup is the secret of the first administrator's link and place the
   * name that they give the server, both "" otherwise. */
  register(userName: string, nickname: string, password: string, setup: string, place: string): Promise<Session>;
  logIn(userName: string, password: string): Promise<Session>;
  /** Starts again with an administrator's code, a new identity and a new password. Rejects with wrong-password for a wrong code. */
  reset(code: string, userName: string, password: string): Promise<Session>;
  /** Logs in with a recovery code and sets a new password. Rejects with wrong-code. */
  recover(userName: string, code: string, password: string): Promise<Session>;
  /** Asks an older device to let this browser in, and waits until it did, expired, or signal ended it. */
  joinByLink(link: string, signal: AbortSignal): Promise<Session>;
  /** Whether this browser has something sealed away of an account that was signed out from elsewhere. */
  locked(): Promise<boolean>;
  /** Removes that for good. */
  removeLocked(): Promise<void>;
}
