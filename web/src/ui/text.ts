// What the interface reads out of texts and names.

/** The longest text of a message, in UTF-8 bytes. */
export const maxText = 64 * 1024;

/** The length of a text in UTF-8 bytes; half a surrogate pair counts as the replacement character, as encoding does. */
export function byteLength(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x80) bytes += 1;
    else if (code < 0x800) bytes += 2;
    else if (code < 0x10000) bytes += 3;
    else bytes += 4;
  }
  return bytes;
}

/** One or two letters for a person without a picture: the first of the first and the last word, one Han character. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/u).filter(Boolean);
  const first = firstCharacter(words[0] ?? "");
  if (first === "") return "?";
  if (words.length < 2 || han.test(first)) return first.toLocaleUpperCase();
  return (first + firstCharacter(words[words.length - 1] ?? "")).toLocaleUpperCase();
}

/** A user name for somebody with this name, "" when none comes to mind: Yara Okafor → yara.okafor. */
export function suggestUserName(name: string): string {
  const fitting = name
    .normalize("NFC")
    .toLocaleLowerCase()
    .trim()
    .replace(/\s+/gu, ".")
    .replace(/[^\p{L}\p{Mn}\p{Mc}0-9._-]/gu, "");
  return [...fitting].length >= 2 && /^[\p{L}0-9]/u.test(fitting) ? fitting.slice(0, 32) : "";
}

/** One of the eight hues, 1 to 8, always the same for an account (FNV-1a over its id). */
export function hue(account: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < account.length; i++) hash = Math.imul(hash ^ account.charCodeAt(i), 0x01000193);
  return ((hash >>> 0) % 8) + 1;
}

/** The lang attribute for a text whose script differs from the page's, or undefined when the page's is right. */
export function languageOf(text: string, page: string): string | undefined {
  const found = scriptLanguage(text);
  return found === undefined || found === page ? undefined : found;
}

/** Tells whether a text is one to three emoji and nothing else; those are shown large. */
export function onlyEmoji(text: string): boolean {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed.length > 60) return false; // a family of skin tones is about 20 units long
  const characters = [...new Intl.Segmenter("en").segment(trimmed)];
  return characters.length <= 3 && characters.every(({ segment }) => emoji.test(segment));
}

/** Tells whether a person is found by what was typed into the search of the list. */
export function matches(query: string, ...names: string[]): boolean {
  const wanted = fold(query);
  return names.some((name) => fold(name).includes(wanted));
}

/** A part of a text; href is "" for what is no address. */
export interface Piece {
  readonly text: string;
  readonly href: string;
}

/** Finds the addresses in a text: http and https only, without the punctuation of the sentence around them. */
export function pieces(text: string): Piece[] {
  const out: Piece[] = [];
  let done = 0;
  for (const match of text.matchAll(address)) {
    const found = trimAddress(match[0]);
    if (!URL.canParse(found)) continue;
    if (match.index > done) out.push({ text: text.slice(done, match.index), href: "" });
    out.push({ text: found, href: new URL(found).href });
    done = match.index + found.length;
  }
  if (done < text.length) out.push({ text: text.slice(done), href: "" });
  return out;
}

/** Tells whether a text would fill more than a screen and is folded. */
export function isLong(text: string): boolean {
  return text.length > 2_000 || text.split("\n", 26).length > 25;
}

// Chinese and Japanese sentences go on without a space after an address.
const address =
  /\bhttps?:\/\/[^\s<>"'`\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u3000-\u303f\uff00-\uffef]+/giu;

/** Cuts off what ends the sentence: full stops, quotes, and brackets that were opened before the address. */
function trimAddress(found: string): string {
  const open: Record<string, number> = {
    ")": count(found, ")") - count(found, "("),
    "]": count(found, "]") - count(found, "["),
  };
  let end = found.length;
  for (; end > 0; end--) {
    const last = found[end - 1] ?? "";
    const surplus = open[last] ?? 0;
    if (surplus > 0) open[last] = surplus - 1;
    else if (!/[.,;:!?…*_~|“”‘’]/u.test(last)) break;
  }
  return found.slice(0, end);
}

function count(text: string, character: string): number {
  return text.split(character).length - 1;
}

const han = /\p{Script=Han}/u;
const emoji = /^(?:\p{Emoji_Presentation}|\p{Emoji}\uFE0F|\p{Regional_Indicator}{2}|[#*0-9]\uFE0F?\u20E3)/u;

function scriptLanguage(text: string): string | undefined {
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return "ja";
  if (/\p{Script=Hangul}/u.test(text)) return "ko";
  if (han.test(text)) return "zh";
  return /\p{Script=Latin}/u.test(text) ? "en" : undefined;
}

function firstCharacter(word: string): string {
  const { value } = new Intl.Segmenter("en").segment(word)[Symbol.iterator]().next();
  return value?.segment ?? "";
}

function fold(text: string): string {
  return text
    .normalize("NFKD")
    .replace(/\p{Mn}/gu, "")
    .toLocaleLowerCase()
    .trim();
}
