// Names that look the same to a person, whatever letters they are made of.
import type { Person } from "../state/types.ts";

/** Letters of other scripts, digits and signs, each behind the Latin letter that it is taken for. */
const LOOKS: readonly (readonly [string, string])[] = [
  ["a", "аαɑ4@"],
  ["b", "ьЬƅ8"],
  ["c", "сϲⅽ"],
  ["d", "ԁⅾ"],
  ["e", "еєεҽ3"],
  ["f", "ƒϝ"],
  ["g", "ɡԍց9"],
  ["h", "һհнη"],
  ["j", "јϳ"],
  ["k", "кκĸ"],
  ["l", "ӏіιıіl1|ⅼíì!ɪi"],
  ["m", "мⅿ"],
  ["n", "пո"],
  ["o", "оοօ0σө"],
  ["p", "рρ"],
  ["q", "ԛգ"],
  ["r", "гʀ"],
  ["s", "ѕꜱ5$"],
  ["t", "тτ7"],
  ["u", "υսцμ"],
  ["v", "ѵνⅴ"],
  ["w", "ѡԝω"],
  ["x", "хχⅹ"],
  ["y", "уүγ"],
  ["z", "ᴢ2"],
];

const latin = new Map(LOOKS.flatMap(([letter, looks]) => Array.from(looks, (look) => [look, letter] as const)));

/** What stays of a name for somebody who looks at it in passing: names with the same rest look alike. */
export function skeleton(name: string): string {
  const bare = name
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[\p{M}\p{Z}\p{P}\p{Cf}]/gu, (sign) => (latin.has(sign) ? sign : ""));
  const letters = Array.from(bare, (letter) => latin.get(letter) ?? letter).join("");
  return letters.replaceAll("rn", "m").replaceAll("vv", "w").replaceAll("cl", "d") || name;
}

/**
 * The accounts among contacts, requests and oneself whose names look the same as another one's. Who has nothing to do with
 * this account counts for nothing.
 */
export function lookAlikes(people: readonly Person[], me: { account: string; name: string }): ReadonlySet<string> {
  const byLook = new Map<string, Set<string>>();
  const add = (account: string, name: string): void => {
    const look = skeleton(name);
    byLook.set(look, (byLook.get(look) ?? new Set()).add(account));
  };
  add(me.account, me.name);
  for (const person of people) if (person.relation !== "none" && person.id !== me.account) add(person.id, person.name);
  const alike = [...byLook.values()].filter((accounts) => accounts.size > 1).flatMap((accounts) => [...accounts]);
  return new Set(alike.filter((account) => account !== me.account));
}
