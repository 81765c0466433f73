import { clone, create, toBinary } from "@bufbuild/protobuf";
import {
  type Bytes,
  check32,
  HASH_SIZE,
  NONCE_SIZE,
  randomBytes,
  SIGNATURE_SIZE,
  sha256,
  TAG_SIZE,
  utf8,
} from "./bytes.ts";
import { badSignature, malformed, tooLarge, unsupported } from "./errors.ts";
import { checkV7, idFrom } from "./ids.ts";
import { MAX_EMOJI, MAX_ENVELOPE, MAX_MENTIONS, MAX_TEXT, SUITE, VERSION } from "./limits.ts";
import {
  type Content,
  ContentSchema,
  type Envelope,
  EnvelopeSchema,
  type Header,
  HeaderSchema,
  Kind,
  type MessageRef,
} from "./schema.ts";
import { decrypt, encrypt } from "./seal.ts";
import { type SigningKey, sign, verify } from "./sign.ts";
import { derive, hash, Label } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

/**
 * Makes an envelope: it puts a fresh nonce into a copy of the header, seals the content under a key
 * derived from epoch key and header, and signs both. The header is serialised here once and for all.
 */
export async function sealEnvelope(
  epochKey: Uint8Array,
  h: Header,
  content: Content,
  key: SigningKey,
): Promise<Envelope> {
  check32("an epoch key", epochKey);
  const sealed = clone(HeaderSchema, h);
  sealed.nonce = randomBytes(NONCE_SIZE);
  const header = toBinary(HeaderSchema, sealed);
  parseHeader(header);
  checkContent(sealed, content);
  const plaintext = toBinary(ContentSchema, content);
  if (header.length + plaintext.length + TAG_SIZE > MAX_ENVELOPE) {
    throw tooLarge(`the message is larger than ${MAX_ENVELOPE} bytes`);
  }
  const ciphertext = await encrypt(await messageKey(epochKey, header), sealed.nonce, plaintext, header);
  const signature = await sign(key, Label.envelope, header, await sha256(ciphertext));
  return create(EnvelopeSchema, { header, ciphertext, signature });
}

/** The key that seals one message. */
export async function messageKey(epochKey: Uint8Array, header: Uint8Array): Promise<Bytes> {
  return derive(epochKey, Label.message, await sha256(header));
}

/** Parses a header and makes every check that needs no state (docs/PROTOCOL.md §5). */
export function parseHeader(b: Uint8Array): Header {
  if (b.length > MAX_ENVELOPE) throw tooLarge("the header is too large");
  const h = unmarshal(HeaderSchema, b);
  if (h.version !== VERSION || h.suite !== SUITE) {
    throw unsupported(`a message of version ${h.version}, suite ${h.suite} needs a newer Parley`);
  }
  for (const id of [h.conversation, h.account, h.device]) idFrom(id);
  checkV7(h.id);
  if (h.epoch === 0n || h.counter === 0n || h.kind === 0 || h.timeMs === 0n) {
    throw malformed("a header lacks epoch, counter, kind or time");
  }
  if (h.mentions.length > MAX_MENTIONS) throw tooLarge(`a message mentions at most ${MAX_MENTIONS} people`);
  if (h.nonce.length !== NONCE_SIZE) throw malformed("a header has no nonce");
  for (const id of h.mentions) idFrom(id);
  if (h.replaces !== undefined) checkRef(h.replaces);
  else if (h.kind >= Kind.EDIT && h.kind <= Kind.REACTION) {
    throw malformed("an edit, deletion or reaction does not say of which message");
  }
  return h;
}

/**
 * Parses the header of an envelope as it is sent: with a ciphertext and a signature of the right sizes.
 * It verifies nothing.
 */
export function parseEnvelope(e: Envelope): Header {
  if (e.header.length + e.ciphertext.length > MAX_ENVELOPE) {
    throw tooLarge(`the message is larger than ${MAX_ENVELOPE} bytes`);
  }
  if (e.ciphertext.length < TAG_SIZE || e.ciphertextHash.length !== 0) {
    throw malformed("a message was sent without its body");
  }
  if (e.signature.length !== SIGNATURE_SIZE) throw badSignature("the message has no signature");
  return parseHeader(e.header);
}

/** The envelope without its body, as the relay keeps it after a deletion: header and signature still verify. */
export async function blank(e: Envelope): Promise<Envelope> {
  return create(EnvelopeSchema, {
    header: e.header,
    signature: e.signature,
    ciphertextHash: await ciphertextHash(e),
  });
}

/** Whether an envelope's body was taken out. */
export function isBlank(e: Envelope): boolean {
  return e.ciphertext.length === 0;
}

/** SHA-256 of the ciphertext, also of a blanked envelope. */
export async function ciphertextHash(e: Envelope): Promise<Uint8Array> {
  if (isBlank(e) && e.ciphertextHash.length === HASH_SIZE) return e.ciphertextHash;
  return sha256(e.ciphertext);
}

/** Identifies an envelope's exact bytes, blanked or not. */
export async function envelopeHash(e: Envelope): Promise<Bytes> {
  return hash(Label.envelopeHash, e.header, await ciphertextHash(e));
}

/** Checks the sender's signature with the device key. Throws bad_signature. */
export async function verifyEnvelope(e: Envelope, key: Uint8Array): Promise<void> {
  return verify(key, Label.envelope, e.signature, e.header, await ciphertextHash(e));
}

/** Opens the content. The caller has verified the signature. Throws malformed. */
export async function openEnvelope(epochKey: Uint8Array, e: Envelope): Promise<Content> {
  check32("an epoch key", epochKey);
  const h = parseHeader(e.header);
  const plaintext = await decrypt(await messageKey(epochKey, e.header), h.nonce, e.ciphertext, e.header);
  if (plaintext === null) throw malformed("the message does not open: it was altered, or the key is wrong");
  const content = unmarshal(ContentSchema, plaintext);
  checkContent(h, content);
  return content;
}

/** What the header of a content that this version knows must say. */
const KINDS = { text: Kind.MESSAGE, edit: Kind.EDIT, delete: Kind.DELETE, reaction: Kind.REACTION } as const;

/**
 * Checks the sizes of content that this version knows, and that the header announces just that: what does
 * not count as unread must not be shown as a message. Contents of later versions pass.
 */
function checkContent(h: Header, { kind }: Content): void {
  if (kind.case === undefined) return;
  if (kind.case === "text" && kind.value.replyTo !== undefined) checkRef(kind.value.replyTo);
  if (h.kind !== KINDS[kind.case]) throw malformed("the message holds something else than its header says");
  if (kind.case === "text" || kind.case === "edit") {
    const n = utf8(kind.value.body).length;
    if (n > MAX_TEXT) throw tooLarge(`the text has ${n} bytes, at most ${MAX_TEXT} go into one message`);
  }
  if (kind.case === "reaction" && utf8(kind.value.emoji).length > MAX_EMOJI) {
    throw tooLarge(`a reaction has at most ${MAX_EMOJI} bytes`);
  }
}

function checkRef(r: MessageRef): void {
  idFrom(r.device);
  checkV7(r.id);
}
