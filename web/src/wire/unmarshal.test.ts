import { create, equals, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { concat, utf8 } from "./bytes.ts";
import { WireError } from "./errors.ts";
import * as pb from "./schema.ts";
import { errorName, fromHex, readVectors } from "./testing/vectors.ts";
import { unmarshal } from "./unmarshal.ts";

const link = create(pb.LinkGrantSchema, { linkKey: utf8("key"), uses: 300, expiresMs: 2n ** 64n - 1n, approval: true });
const good = toBinary(pb.LinkGrantSchema, link);

test("takes what the schema says, and unknown fields", () => {
  expect(equals(pb.LinkGrantSchema, unmarshal(pb.LinkGrantSchema, good), link)).toBe(true);
  const unknown = concat(good, fromHex("a83f05" + "a93f0102030405060708" + "aa3f0161" + "ad3f01020304" + "ab3fac3f"));
  expect(equals(pb.LinkGrantSchema, unmarshal(pb.LinkGrantSchema, unknown), link)).toBe(true);
});

test.each([
  ["a cut tag", "80"],
  ["field number 0", "0001"],
  ["a field number above 2^29-1", "8080808010" + "01"],
  ["a cut number", "1080"],
  ["a number of more than 64 bits", "10ffffffffffffffffff02"],
  ["a number of eleven octets", "1080808080808080808080" + "00"],
  ["octets beyond the end", "0a02" + "61"],
  ["a length of more than 2^53", "0affffffffffffffff7f"],
  ["octets in place of a number", "120161"],
  ["a number in place of octets", "0805"],
  ["a group that does not end", "a33f"],
  ["a group that ends as another", "a33fac3f"],
  ["an end without a group", "a43f"],
  ["wire type 6", "a63f"],
])("refuses %s", async (_, digits) => {
  expect(await errorName(() => unmarshal(pb.LinkGrantSchema, fromHex(digits)))).toBe("malformed");
});

test("refuses a nested message that runs beyond its length, and text that is no UTF-8", async () => {
  // Signed in DeviceLists is said to have 2 octets; its body would go on behind them.
  expect(await errorName(() => unmarshal(pb.DeviceListsSchema, fromHex("0a020a03616263")))).toBe("malformed");
  expect(await errorName(() => unmarshal(pb.ProfileSchema, fromHex("1202c328")))).toBe("malformed");
});

test("nests up to 32 deep", async () => {
  const groups = (n: number) => fromHex("c33e".repeat(n) + "c43e".repeat(n));
  unmarshal(pb.FrameSchema, groups(31));
  expect(await errorName(() => unmarshal(pb.FrameSchema, groups(32)))).toBe("malformed");
  expect(await errorName(() => unmarshal(pb.FrameSchema, groups(50_000)))).toBe("malformed");
});

test("takes or refuses altered frames, and nothing else happens", () => {
  const vectors = readVectors();
  const seeds = [vectors.pair.commits[1]?.Signed, vectors.envelopes[0]?.Envelope, vectors.descriptions.offer].map(
    fromHex,
  );
  let random = 1;
  const next = (below: number) => {
    random = (random * 48_271) % 0x7fff_ffff; // the same on every run
    return random % below;
  };
  for (const schema of [pb.SignedSchema, pb.EnvelopeSchema, pb.DescriptionSchema, pb.FrameSchema, pb.CommitSchema]) {
    for (const seed of seeds) {
      for (let i = 0; i < 500; i++) {
        const b = seed.slice(0, next(4) === 0 ? next(seed.length) : seed.length);
        for (let n = next(4); n >= 0 && b.length > 0; n--) b[next(b.length)] = next(256);
        try {
          unmarshal(schema, b);
        } catch (e) {
          expect(e).toBeInstanceOf(WireError);
        }
      }
    }
  }
});
