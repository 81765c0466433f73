import list from "../../../proto/common_passwords.txt?raw";
import { weak } from "./errors.ts";
import { MAX_PASSWORD, MIN_PASSWORD } from "./limits.ts";

const COMMON_TAIL = 4; // digits and signs behind a common password that do not make it another one
const ABOUT_LEAST = 4; // characters of a name that count as one
const REST_LEAST = 6; // characters that a password has beside a name, at least
const DISTINCT_LEAST = 4; // different characters
const JUMPS_LEAST = 5; // places where a character is not the one before, its neighbour or part of a repetition
const JUMPS_GOOD = 9; // from here on a password is good …
const JUMPS_STRONG = 13; // … and strong

const common = new Set(list.trimEnd().split("\n"));

/** Why a password is too weak; "" for one that is not. */
export type Weakness = "" | "short" | "common" | "about-you" | "simple";

const WORDS: Record<Exclude<Weakness, "">, string> = {
  short: `a password has at least ${MIN_PASSWORD} characters`,
  common: "this is one of the passwords that are tried first: take several words that do not belong together",
  "about-you":
    "a password that is little more than a name is guessed soon: take several words that do not belong together",
  simple: "repetitions and rows of neighbours are guessed soon: take several words that do not belong together",
};

/**
 * Refuses a new password that is too short, too long or easily guessed (weak_parameters). about are names that others
 * know: of the user, of the server.
 */
export function checkPassword(password: string, about: readonly string[] = []): void {
  if (Array.from(password).length > MAX_PASSWORD || /\p{Surrogate}/u.test(password)) {
    throw weak(`a password has at most ${MAX_PASSWORD} characters`);
  }
  const weakness = passwordProblem(password, about);
  if (weakness !== "") throw weak(WORDS[weakness]);
}

/** Says why a password is easily guessed, "" if it is not (docs/PROTOCOL.md §3). */
export function passwordProblem(password: string, about: readonly string[] = []): Weakness {
  const p = plain(password);
  const length = Array.from(p).length;
  if (length < MIN_PASSWORD) return "short";
  if (isCommon(p) || isCommon(unit(p))) return "common";
  for (const name of about.map(plain)) {
    const n = Array.from(name).length;
    if (n >= ABOUT_LEAST && p.includes(name) && length - n * (p.split(name).length - 1) < REST_LEAST)
      return "about-you";
  }
  return new Set(p).size < DISTINCT_LEAST || jumps(p) < JUMPS_LEAST ? "simple" : "";
}

/** 0 for a weak password, 1 for a fair one, 2 for a good and 3 for a strong one. */
export function passwordStrength(password: string, about: readonly string[] = []): 0 | 1 | 2 | 3 {
  if (passwordProblem(password, about) !== "") return 0;
  const n = jumps(plain(password));
  if (n >= JUMPS_STRONG) return 3;
  return n >= JUMPS_GOOD ? 2 : 1;
}

/** What counts of a password: capitals make it no better. */
function plain(s: string): string {
  return s.normalize("NFC").toLowerCase();
}

/** Also sees through some digits and signs before or behind a common password. */
function isCommon(p: string): boolean {
  if (common.has(p)) return true;
  const core = p.replace(/^\P{L}+|\P{L}+$/gu, "");
  return Array.from(p).length - Array.from(core).length <= COMMON_TAIL && common.has(core);
}

/** The shortest text of which p is a repetition, p itself if it is none. */
function unit(p: string): string {
  const all = Array.from(p);
  for (let n = 1; n <= all.length / 2; n++) {
    const part = all.slice(0, n).join("");
    if (all.length % n === 0 && part.repeat(all.length / n) === p) return part;
  }
  return p;
}

/**
 * Counts the places of the repeated unit where a character does not follow from the one before: it is neither the same nor
 * its neighbour in the alphabet or on the keyboard. Han and other characters of large scripts count twice.
 */
function jumps(p: string): number {
  let n = 0;
  let before = "";
  for (const c of unit(p)) {
    if (before === "" || !follows(before, c)) n += (c.codePointAt(0) ?? 0) >= 0x2e80 ? 2 : 1;
    before = c;
  }
  return n;
}

const KEY_ROWS = ["`1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./", "qwertzuiop", "azertyuiop"];

function follows(a: string, b: string): boolean {
  if (Math.abs((a.codePointAt(0) ?? 0) - (b.codePointAt(0) ?? 0)) <= 1) return true;
  return KEY_ROWS.some((row) => {
    const [i, j] = [row.indexOf(a), row.indexOf(b)];
    return i >= 0 && j >= 0 && Math.abs(i - j) === 1;
  });
}
