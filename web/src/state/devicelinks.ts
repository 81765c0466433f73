import { create } from "@bufbuild/protobuf";
import { body } from "../net/rest.ts";
import { type DeviceLinkSecret, newDeviceLink } from "../wire/devicelink.ts";
import { nextDeviceList, signDeviceList } from "../wire/devices.ts";
import { grantGeneration } from "../wire/keyring.ts";
import { type DeviceAsk, type DeviceAsks, DeviceLinkSchema, UpdateDevicesSchema } from "../wire/schema.ts";
import { importSeed } from "../wire/sign.ts";
import { authority, keyPlace, type OwnServer } from "./authority.ts";
import { type AskingDevice, CommandError, type DeviceLink } from "./types.ts";

interface Shown {
  readonly secret: DeviceLinkSecret;
  readonly expires: number;
}

interface Asking {
  readonly ask: DeviceAsk;
  readonly expires: number;
}

/** What an older device of the account does for a new one that has no password: shows a link, and lets in who asks by it. */
export class DeviceLinks {
  readonly #server: OwnServer;
  readonly #changed: () => void;
  // Kept while this page lives: a link that is on no screen any more leads nowhere.
  readonly #shown = new Map<string, Shown>();
  readonly #asking = new Map<string, Asking>();

  /** changed is called when somebody asks, or does not any more. */
  constructor(server: OwnServer, changed: () => void) {
    this.#server = server;
    this.#changed = changed;
  }

  /** Makes a link for one new device. */
  async show(): Promise<DeviceLink> {
    const { core, rest, base } = this.#server;
    if (keyPlace(core) === "elsewhere") throw new CommandError("not-here");
    const { code, expiresMs } = await rest.call("POST", "/api/v1/devices/links", DeviceLinkSchema);
    const secret = newDeviceLink(code, core.account);
    const expires = Number(expiresMs);
    this.#shown.set(code, { secret, expires });
    return { code, link: base + secret.path(), expires };
  }

  /** A device asks by a link; one that another device shows does not open here. */
  async asks({ code, ask }: DeviceAsks): Promise<void> {
    const shown = this.#shown.get(code);
    if (shown === undefined) return;
    this.#asking.set(code, { ask: await shown.secret.open(ask), expires: shown.expires });
    this.#changed();
  }

  get asking(): AskingDevice[] {
    return [...this.#asking].map(([code, { ask, expires }]) => ({ code, name: ask.name, expires }));
  }

  /** Adds a device that asks: the list names it, and it gets every key that the account ever had. */
  async admit(code: string, password: string): Promise<void> {
    const { core, rest } = this.#server;
    const keys = this.#asking.get(code)?.ask.keys;
    const name = this.#asking.get(code)?.ask.name ?? "";
    if (keys === undefined) throw new CommandError("expired");
    const { ring, list, ticket } = await authority(this.#server, password);
    const next = nextDeviceList(list, Date.now());
    next.devices.push(keys);
    const request = create(UpdateDevicesSchema, {
      ticket,
      deviceList: await signDeviceList(await importSeed(ring.identitySeed), next),
      newDevice: keys.device,
      deviceName: name,
      generationGrants: await Promise.all(ring.keys.map((key) => grantGeneration(core.account, keys, key))),
      link: code,
    });
    await rest.send("PUT", "/api/v1/devices", body(UpdateDevicesSchema, request));
    this.refuse(code);
  }

  /** Lets nobody in by a link any more. */
  refuse(code: string): void {
    this.#shown.delete(code);
    this.#asking.delete(code);
    this.#changed();
  }
}
