// Limits of version 1 (docs/PROTOCOL.md §9), the same as in proto/limits.go.

/** Bytes of UTF-8 in one message. */
export const MAX_TEXT = 64 << 10;
/** Bytes of header and ciphertext together. */
export const MAX_ENVELOPE = 72 << 10;
/** Bytes of a frame on the socket or a control channel. */
export const MAX_FRAME = 256 << 10;
/** Bytes of a frame before Hello is answered. */
export const MAX_FIRST_FRAME = 4 << 10;
/** Bytes of a REST body. */
export const MAX_BODY = 256 << 10;
/** Envelopes in one Post. */
export const MAX_POST = 100;
/** Events in one Page. */
export const MAX_PAGE = 200;
/** Bytes of events in one Page. */
export const MAX_PAGE_BYTES = 192 << 10;
export const MAX_MEMBERS = 500;
export const MAX_DEVICES = 64;
/** Candidates in a session of a link. */
export const MAX_CANDIDATES = 64;
export const MAX_MENTIONS = 50;
/** Bytes of a reaction. */
export const MAX_EMOJI = 64;
/** Invitation links of one conversation at a time, used up ones too. */
export const MAX_CHAIN_LINKS = 64;
/** Characters of a contact request's note. */
export const MAX_NOTE = 200;
/** Nested protobuf messages. */
export const MAX_DEPTH = 32;
/** Bytes of one message on a control channel. */
export const MAX_FRAGMENT = 16 << 10;
export const MAX_INVITATION_USES = 1000;
/** Milliseconds that an invitation link lasts. */
export const MAX_INVITATION_LIFE = 365n * 24n * 3_600_000n;
/** Characters of a user name. */
export const MAX_USER_NAME = 32;
export const MIN_USER_NAME = 2;
/** Characters of a nickname. */
export const MAX_NICKNAME = 64;
/** Characters of a password. */
export const MIN_PASSWORD = 8;
export const MAX_PASSWORD = 1024;
/** Bytes of a session description. */
export const MAX_SDP = 64 << 10;
/** Characters of a setting's key. */
export const MAX_SETTING_KEY = 64;
/** Bytes of a setting's sealed value. */
export const MAX_SETTING_VALUE = 16 << 10;
/** Accounts in one GetDeviceLists. */
export const MAX_DEVICE_LIST_LOOKUP = 100;
/** Bytes of a host name (RFC 1035 §2.3.4). */
export const MAX_HOST = 253;
/** The only suite of version 1. */
export const SUITE = 1;
/** The protocol's version. */
export const VERSION = 1;
