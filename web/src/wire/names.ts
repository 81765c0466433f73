import { utf8 } from "./bytes.ts";
import { nameInvalid } from "./errors.ts";
import { MAX_NICKNAME, MAX_USER_NAME, MIN_USER_NAME } from "./limits.ts";
import { isRightToLeft, oneScript } from "./scripts.ts";

/** Lone halves of a surrogate pair: text that has no UTF-8. */
const BROKEN = /\p{Surrogate}/u;

/** Full- and half-width forms, but for Hangul, whose narrow letters decompose further than to wide ones. */
const WIDTHS = /[\u3000\uff01-\uff9f\uffe0-\uffee]/gu;

/** Vowel signs and the like that belong to a script. Accents that fit any letter hide in it. */
const OWN_MARK = /(?!\p{Script=Inherited})[\p{Mn}\p{Mc}]/u;
const ALLOWED = /^(?:[\p{L}0-9._-]|(?!\p{Script=Inherited})[\p{Mn}\p{Mc}])+$/u;
const ALPHANUMERIC = /[\p{L}0-9]/u;

/**
 * Letters that PRECIS IdentifierClass (RFC 8264 §8) leaves out: conjoining Hangul letters (§9.9), invisible
 * ones (§9.13) and the exceptions among letters and marks (§9.6).
 */
const DISALLOWED =
  /[\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b\p{Default_Ignorable_Code_Point}]/u;

/**
 * The form under which a user name is unique: PRECIS UsernameCaseMapped (RFC 8265 §3.3) as
 * docs/PROTOCOL.md §3.1 narrows it. Throws name_invalid. The server's answer is the one that counts: its
 * Unicode may be older than the browser's.
 */
export function foldUserName(name: string): string {
  if (utf8(name).length > 4 * MAX_USER_NAME) throw nameInvalid(`a user name has at most ${MAX_USER_NAME} characters`);
  const characters = "a user name has letters, digits, '.', '_' and '-' only, without spaces";
  if (BROKEN.test(name)) throw nameInvalid(characters);
  const wide = name.replace(WIDTHS, (c) => c.normalize("NFKC"));
  // One by one, because a whole word would get a final sigma.
  const folded = Array.from(wide, (c) => c.toLowerCase())
    .join("")
    .normalize("NFC");
  const letters = Array.from(folded);
  if (letters.length < MIN_USER_NAME || letters.length > MAX_USER_NAME) {
    throw nameInvalid(`a user name has ${MIN_USER_NAME} to ${MAX_USER_NAME} characters`);
  }
  if (!ALLOWED.test(folded) || DISALLOWED.test(folded) || letters.some((c) => c.normalize("NFKC") !== c)) {
    throw nameInvalid(characters);
  }
  if (!ALPHANUMERIC.test(letters[0] ?? "")) throw nameInvalid("a user name starts with a letter or a digit");
  if (!oneScript(letters.filter((c) => /\p{L}/u.test(c) || OWN_MARK.test(c)))) {
    throw nameInvalid("a user name keeps to one script: letters of several look alike");
  }
  if (isRightToLeft(folded) && !/^\p{L}(?:.*[\p{L}0-9])?\p{M}*$/u.test(folded)) {
    // RFC 5893 §2, rules 1 and 3
    throw nameInvalid("a user name that is read from the right begins with a letter and ends with a letter or digit");
  }
  return folded;
}

/** What shows nothing, hides or reorders: docs/PROTOCOL.md §3.1. Joiner and emoji style are taken in their places. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029\u2800\p{Default_Ignorable_Code_Point}\p{Variation_Selector}]/u;
const JOINER = "\u200d";
const EMOJI_STYLE = "\ufe0f";
/** What can end the first half of a joined emoji. */
const JOINS = /\p{So}|\ufe0f|[\u{1f3fb}-\u{1f3ff}]/u;

/**
 * A nickname as it is kept: as PRECIS Nickname (RFC 8266 §2.3) enforces it, in NFKC with single spaces,
 * case kept, but with the joiners that emoji need. Throws name_invalid.
 */
export function cleanNickname(name: string): string {
  const length = `a name has 1 to ${MAX_NICKNAME} characters`;
  if (BROKEN.test(name) || utf8(name).length > 16 * MAX_NICKNAME) throw nameInvalid(length);
  checkVisible(name);
  const clean = name
    .normalize("NFKC")
    .replace(/\p{White_Space}+/gu, " ")
    .replace(/^ | $/g, "");
  checkVisible(clean);
  const n = Array.from(clean).length;
  if (n < 1 || n > MAX_NICKNAME) throw nameInvalid(length);
  if (/^\p{M}/u.test(clean)) throw nameInvalid("a name does not start with an accent");
  return clean;
}

function checkVisible(name: string): void {
  const runes = Array.from(name);
  for (const [i, r] of runes.entries()) {
    const before = runes[i - 1];
    let ok = !INVISIBLE.test(r);
    if (r === JOINER) ok = before !== undefined && JOINS.test(before) && /\p{So}/u.test(runes[i + 1] ?? "");
    if (r === EMOJI_STYLE) ok = before !== undefined && !/[\p{Z}\p{Variation_Selector}]/u.test(before);
    if (!ok) throw nameInvalid(`character ${i + 1} of the name is invisible: take it out`);
  }
}
