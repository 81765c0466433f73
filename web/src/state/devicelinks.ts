import { type DeviceLinkSecret, newDeviceLink } from "../wire/devicelink.ts";
import { hasCode } from "../wire/errors.ts";
import { grantGeneration } from "../wire/keyring.ts";
import { cleanNickname } from "../wire/names.ts";
import { type DeviceAsks, type DeviceKeys, DeviceLinkSchema, ErrorCode } from "../wire/schema.ts";
import { keyPlace, type OwnServer } from "./authority.ts";
import { updateList } from "./own.ts";
import { type AskingDevice, CommandError, type DeviceLink } from "./types.ts";

/** A link that was taken back unused is shown again while it lasts at least so many ms: the server keeps only a few. */
const SPARE = 2 * 60_000;

interface Shown {
  readonly secret: DeviceLinkSecret;
  readonly expires: number;
}

interface Asking {
  readonly name: string;
  readonly keys: DeviceKeys;
  readonly expires: number;
}

/** What an older device of the account does for a new one that has no password: shows a link, and lets in who asks by it. */
export class DeviceLinks {
  readonly #server: OwnServer;
  readonly #changed: () => void;
  // Kept while this page lives: a link that is on no screen any more leads nowhere.
  readonly #shown = new Map<string, Shown>();
  readonly #spare = new Map<string, Shown>();
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
    const shown = this.#reuse() ?? (await this.#make(rest));
    const { secret, expires } = shown;
    this.#shown.set(secret.code, shown);
    return { code: secret.code, link: base + secret.path(), expires };
  }

  #reuse(): Shown | null {
    for (const [code, spare] of this.#spare) {
      this.#spare.delete(code);
      if (spare.expires - Date.now() > SPARE) return spare;
    }
    return null;
  }

  async #make(rest: OwnServer["rest"]): Promise<Shown> {
    try {
      const { code, expiresMs } = await rest.call("POST", "/api/v1/devices/links", DeviceLinkSchema);
      return { secret: newDeviceLink(code, this.#server.core.account), expires: Number(expiresMs) };
    } catch (e) {
      throw hasCode(e, ErrorCode.TOO_LARGE) ? new CommandError("too-many") : e;
    }
  }

  /** A device asks by a link; one that another device shows does not open here. */
  async asks({ code, ask }: DeviceAsks): Promise<void> {
    this.#spare.delete(code); // it works once
    const shown = this.#shown.get(code);
    if (shown === undefined) return;
    const { name, keys } = await shown.secret.open(ask);
    if (keys === undefined) return;
    this.#asking.set(code, { name: shownName(name), keys, expires: shown.expires });
    this.#changed();
  }

  get asking(): AskingDevice[] {
    return [...this.#asking].map(([code, { name, expires }]) => ({ code, name, expires }));
  }

  /** Adds a device that asks: the list names it, and it gets every key that the account ever had. */
  async admit(code: string, password: string): Promise<void> {
    const { core } = this.#server;
    const asking = this.#asking.get(code);
    if (asking === undefined) throw new CommandError("expired");
    const { name, keys } = asking;
    await updateList(this.#server, password, async ({ ring }, next) => {
      next.devices.push(keys);
      const generationGrants = await Promise.all(ring.keys.map((key) => grantGeneration(core.account, keys, key)));
      return { newDevice: keys.device, deviceName: name, generationGrants, link: code };
    });
    this.refuse(code);
  }

  /** Lets nobody in by a link any more. */
  refuse(code: string): void {
    const shown = this.#shown.get(code);
    if (shown !== undefined && !this.#asking.has(code)) this.#spare.set(code, shown);
    this.#shown.delete(code);
    this.#asking.delete(code);
    this.#changed();
  }
}

/** A name that cannot look like something else on the screen. */
function shownName(name: string): string {
  try {
    return cleanNickname(name);
  } catch {
    return "Device";
  }
}
