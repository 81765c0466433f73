import { m } from "../i18n/messages.js";
import { MIN_PASSWORD } from "../wire/limits.ts";
import { passwordProblem, passwordStrength, type Weakness } from "../wire/strength.ts";

/** The shortest password an account takes, in characters. */
export const minPassword = MIN_PASSWORD;

const sentences: Readonly<Record<Weakness, () => string>> = {
  "": () => "",
  short: () => m.password_short({ count: minPassword }),
  common: m.password_common,
  "about-you": m.password_about_you,
  simple: m.password_simple,
};

/** Why a new password is refused, "" if it is not. about are names that others know. */
export function passwordError(password: string, about: readonly string[]): string {
  return sentences[passwordProblem(password, named(about))]();
}

/** How strong a password is, from 0 to 3, and the word for that. */
export function strengthOf(password: string, about: readonly string[]): { level: 0 | 1 | 2 | 3; word: string } {
  const words = [m.password_weak, m.password_fair, m.password_good, m.password_strong] as const;
  const level = passwordStrength(password, named(about));
  return { level, word: words[level]() };
}

function named(about: readonly string[]): string[] {
  return about.filter((name) => name !== "");
}
