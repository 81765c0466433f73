import { clone, create, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { own } from "../wire/bytes.ts";
import { hasCode } from "../wire/errors.ts";
import { parseID } from "../wire/ids.ts";
import { MAX_SETTING_KEY, MAX_SETTING_VALUE } from "../wire/limits.ts";
import {
  ErrorCode,
  type LinkSetting,
  LinkSettingSchema,
  type PersonSetting,
  PersonSettingSchema,
  SetSettingSchema,
  type Setting,
} from "../wire/schema.ts";
import { openSetting, personOfSetting, personSettingKey, SETTING_LINKS, sealSetting } from "../wire/settings.ts";
import { type Core, NotReadyError } from "./core.ts";
import { Meta } from "./records.ts";
import type { Ask } from "./sync.ts";

/** Settings that a browser keeps; the server keeps 256 of an account. */
const MOST = 1024;

export interface SettingsConfig {
  readonly core: Core;
  readonly ask: Ask;
  /** What is shown changed. */
  changed(): void;
  /** Links are to be made another way: those to one account, null for all. */
  linksChanged(account: string | null): void;
  /** A setting does not open; it is left as it is. */
  report(e: unknown): void;
}

const nothing: PersonSetting = create(PersonSettingSchema);

/**
 * What the account's devices share. The server keeps it sealed, and so does this browser; opened it is in memory only. One
 * whose key is not here yet is left alone and opened when the key comes.
 */
export class Settings {
  readonly #cfg: SettingsConfig;
  readonly #people = new Map<string, PersonSetting>();
  readonly #closed = new Set<string>(); // keys of settings that do not open
  #links: LinkSetting = create(LinkSettingSchema);
  #here = false; // hiding was chosen in this browser before the account's devices shared it
  #changing: Promise<unknown> = Promise.resolve();

  constructor(cfg: SettingsConfig) {
    this.#cfg = cfg;
  }

  /** Opens what is stored. */
  async load(): Promise<void> {
    const { core } = this.#cfg;
    this.#here = (await core.db.get("meta", Meta.hideAddress)) === true;
    for (const [key, value] of core.settings) await this.#open(key, value);
  }

  /** What the account notes of a person. */
  person(account: string): PersonSetting {
    return this.#people.get(account) ?? nothing;
  }

  /** Whether all links hide the account's addresses. */
  get hideAddress(): boolean {
    return this.#links.hideAddress || this.#here;
  }

  /** Whether links to a person hide the account's addresses. */
  hidesFrom(account: string): boolean {
    return this.hideAddress || this.person(account).hideAddress;
  }

  /** Takes settings as the server has them. */
  async take(settings: readonly Setting[]): Promise<void> {
    for (const { key, value } of settings) {
      const known = this.#cfg.core.settings.has(key);
      const fits = key !== "" && key.length <= MAX_SETTING_KEY && value.length <= MAX_SETTING_VALUE;
      if (fits && (known || this.#cfg.core.settings.size < MOST)) await this.#keep(key, value);
    }
  }

  /** The account has another key: what did not open may open now. */
  async keyArrived(): Promise<void> {
    for (const key of [...this.#closed]) {
      const value = this.#cfg.core.settings.get(key);
      if (value !== undefined) await this.#open(key, value);
    }
    this.#cfg.changed();
  }

  async #keep(key: string, value: Uint8Array): Promise<void> {
    await this.#cfg.core.step(async (s) => s.saveSetting(key, own(value)));
    await this.#open(key, value);
    this.#cfg.changed();
  }

  /** Puts what a setting says in force. Kinds of a newer Parley are kept and not opened. */
  async #open(key: string, value: Uint8Array): Promise<void> {
    const account = personOfSetting(key);
    if (account !== null) await this.#try(key, PersonSettingSchema, value, (s) => this.#setPerson(account, s));
    else if (key === SETTING_LINKS) await this.#try(key, LinkSettingSchema, value, (s) => this.#setLinks(s));
  }

  async #try<D extends DescMessage>(
    key: string,
    schema: D,
    value: Uint8Array,
    set: (opened: MessageShape<D>) => void,
  ): Promise<void> {
    const { core, report } = this.#cfg;
    try {
      const opened = await openSetting((g) => core.accountKeyBytes(g), core.account, key, schema, value);
      this.#closed.delete(key);
      set(opened);
    } catch (e) {
      this.#closed.add(key);
      if (!hasCode(e, ErrorCode.NOT_FOUND)) report(e);
    }
  }

  #setPerson(account: string, s: PersonSetting): void {
    const before = this.hidesFrom(account);
    this.#people.set(account, s);
    if (this.hidesFrom(account) !== before) this.#cfg.linksChanged(account);
  }

  #setLinks(s: LinkSetting): void {
    const before = this.hideAddress;
    this.#links = s;
    if (this.hideAddress !== before) this.#cfg.linksChanged(null);
  }

  /** Changes what the account notes of a person, on all its devices. Rejects with OfflineError, NotReadyError, WireError. */
  changePerson(account: string, change: (s: PersonSetting) => void): Promise<void> {
    const key = personSettingKey(parseID(account));
    return this.#change(key, PersonSettingSchema, () => this.person(account), change);
  }

  /** Hides the account's addresses on all links, or shows them again. */
  async setHideAddress(on: boolean): Promise<void> {
    await this.#change(
      SETTING_LINKS,
      LinkSettingSchema,
      () => this.#links,
      (s) => {
        s.hideAddress = on;
      },
    );
    await this.#forgetHere();
  }

  /** Gives the account what only this browser knew; called when the server is reached and told all that it has. */
  async handOver(): Promise<void> {
    if (!this.#here) return;
    if (this.#links.hideAddress) await this.#forgetHere();
    else await this.setHideAddress(true);
  }

  async #forgetHere(): Promise<void> {
    if (!this.#here) return;
    await this.#cfg.core.step(async (s) => void s.batch.delete("meta", Meta.hideAddress));
    const before = this.hideAddress;
    this.#here = false;
    if (this.hideAddress !== before) this.#cfg.linksChanged(null);
    this.#cfg.changed();
  }

  /** One change after the other: each changes what the one before made of it. */
  #change<D extends DescMessage>(
    key: string,
    schema: D,
    now: () => MessageShape<D>,
    change: (s: MessageShape<D>) => void,
  ): Promise<void> {
    const done = this.#changing.then(async () => {
      const { core, ask } = this.#cfg;
      if (this.#closed.has(key)) throw new NotReadyError(); // it would be written over
      const next = clone(schema, now());
      change(next);
      const value = await sealSetting(await this.#newestKey(), core.account, key, schema, next);
      await ask({ case: "setSetting", value: create(SetSettingSchema, { setting: { key, value } }) }, "ok");
      await this.#keep(key, value);
    });
    this.#changing = done.catch(() => undefined);
    return done;
  }

  /** The account key of the generation in force. Throws NotReadyError until it has come. */
  async #newestKey(): Promise<{ generation: number; privateKey: Uint8Array }> {
    const { core } = this.#cfg;
    const list = await core.list(core.people.get(core.account));
    const generation = list?.list.generation ?? 0;
    const privateKey = await core.accountKeyBytes(generation);
    if (privateKey === null) throw new NotReadyError();
    return { generation, privateKey };
  }
}
