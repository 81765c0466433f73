import { afterAll, beforeAll, expect, test } from "vitest";
import { shows, texts } from "./testing/browser.ts";
import { Place } from "./testing/place.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.open();
});
afterAll(() => place.close());

const numbers = (n: number): string[] => Array.from({ length: n }, (_, i) => `text ${i}`);

test("a conversation is read by pages; what is in view stays when more comes, and what did not change stays the same", async () => {
  const { mia, ben, conversation } = await place.pair();
  for (const text of numbers(120)) await mia.session.send(conversation, text);
  const open = ben.session.open(conversation);
  await shows(open, (all) => all.at(-1)?.text === "text 119" && all.every((m) => m.seq > 0), "the newest page");
  expect(open.timeline().atStart).toBe(false);
  await open.older();
  const before = open.timeline().messages;
  expect(before.length).toBeGreaterThan(60);

  await mia.session.send(conversation, "one more");
  await shows(open, (all) => all.at(-1)?.text === "one more" && all.at(-1)?.seq !== 0, "it is there");
  const after = open.timeline().messages;
  expect(after.slice(0, -1)).toHaveLength(before.length);
  for (const [i, m] of before.entries()) expect(after[i]).toBe(m);

  while (!open.timeline().atStart) await open.older();
  expect(texts(open.timeline().messages)).toEqual([...numbers(120), "one more"]);
  open.close();
});
