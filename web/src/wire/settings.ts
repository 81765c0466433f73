import { create, type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type Bytes, check32, utf8 } from "./bytes.ts";
import { WireError } from "./errors.ts";
import { type ID, idBytes, parseID } from "./ids.ts";
import { ErrorCode, SealedSettingSchema } from "./schema.ts";
import { openBytes, sealBytes } from "./seal.ts";
import { derive, Label } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

/** The key of the setting that holds a LinkSetting. */
export const SETTING_LINKS = "links";

/** The key of the setting that holds a FormerSetting. */
export const SETTING_FORMER = "former";

const PERSON = "person/";

/** The key of the setting that holds what an account notes of another person. */
export function personSettingKey(person: ID): string {
  return PERSON + person;
}

/** Whom a setting is about, null for settings about nobody. */
export function personOfSetting(key: string): ID | null {
  if (!key.startsWith(PERSON)) return null;
  try {
    return parseID(key.slice(PERSON.length));
  } catch {
    return null;
  }
}

/**
 * Makes the value of a setting for the account's other devices, which have the private account key of that generation: the
 * newest one (docs/PROTOCOL.md §3).
 */
export async function sealSetting<D extends DescMessage>(
  accountKey: { generation: number; privateKey: Uint8Array },
  account: ID,
  key: string,
  schema: D,
  value: MessageShape<D>,
): Promise<Bytes> {
  check32("an account key", accountKey.privateKey);
  const under = await derive(accountKey.privateKey, Label.setting);
  const sealed = await sealBytes(under, toBinary(schema, value), Label.setting, idBytes(account), utf8(key));
  return toBinary(SealedSettingSchema, create(SealedSettingSchema, { generation: accountKey.generation, sealed }));
}

/**
 * Opens what sealSetting made. find gives the private account key of a generation, null when the device does not have it:
 * then this throws not_found, and the setting opens when the key has come. Throws malformed for anything else.
 */
export async function openSetting<D extends DescMessage>(
  find: (generation: number) => Promise<Uint8Array | null>,
  account: ID,
  key: string,
  schema: D,
  value: Uint8Array,
): Promise<MessageShape<D>> {
  const { generation, sealed } = unmarshal(SealedSettingSchema, value);
  const privateKey = await find(generation);
  if (privateKey === null)
    throw new WireError(
      ErrorCode.NOT_FOUND,
      "the setting is sealed under an account key that this device does not have",
    );
  const under = await derive(privateKey, Label.setting);
  return unmarshal(schema, await openBytes(under, sealed, Label.setting, idBytes(account), utf8(key)));
}
