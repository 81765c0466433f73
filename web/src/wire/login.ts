import { create } from "@bufbuild/protobuf";
import { check32, utf8 } from "./bytes.ts";
import { malformed } from "./errors.ts";
import { type ID, idBytes } from "./ids.ts";
import { MAX_HOST } from "./limits.ts";
import { type DeviceLogin, DeviceLoginSchema, type Signed } from "./schema.ts";
import { type Lookup, type SigningKey, signMessage, verifyBy } from "./sign.ts";
import { Label } from "./tuple.ts";
import { unmarshal } from "./unmarshal.ts";

/** Signs a log-in by device; host as serverHost gives it, nonce from the server's Challenge. */
export async function signDeviceLogin(
  key: SigningKey,
  login: { host: string; account: ID; device: ID; nonce: Uint8Array },
): Promise<Signed> {
  check32("a log-in's nonce", login.nonce);
  const { host, nonce } = login;
  const account = idBytes(login.account);
  const device = idBytes(login.device);
  return signMessage(key, Label.login, DeviceLoginSchema, create(DeviceLoginSchema, { host, account, device, nonce }));
}

/** Verifies a log-in by the device that it names. Whether host and nonce are the server's own is for it to check. */
export async function openDeviceLogin(s: Signed, lookup: Lookup): Promise<DeviceLogin> {
  const login = unmarshal(DeviceLoginSchema, s.body); // read to learn whose key to verify with
  await verifyBy(lookup, login.account, login.device, Label.login, s);
  if (login.host === "" || utf8(login.host).length > MAX_HOST) {
    throw malformed("a log-in does not name the server's host");
  }
  check32("a log-in's nonce", login.nonce);
  return login;
}
