import { create } from "@bufbuild/protobuf";
import { OfflineError } from "../net/connection.ts";
import { equal } from "../wire/bytes.ts";
import { forbidden } from "../wire/errors.ts";
import { importSealPair } from "../wire/hpke.ts";
import { idFrom } from "../wire/ids.ts";
import { openGeneration } from "../wire/keyring.ts";
import {
  type AccountChanges,
  AccountSyncSchema,
  type ConversationState,
  type GenerationGrant,
  type InvitationState,
  type Privacy as PrivacyMessage,
} from "../wire/schema.ts";
import { type Core, sealAccountKey, UnknownDeviceError } from "./core.ts";
import { applyContact, avatarOf, IdentityChangedError, keepInvitation, learnList } from "./people.ts";
import { Meta } from "./records.ts";
import { takeFormer } from "./reset.ts";
import type { Settings } from "./settings.ts";
import type { Ask, Sync } from "./sync.ts";
import type { Privacy } from "./types.ts";

export interface ChangesConfig {
  readonly core: Core;
  readonly ask: Ask;
  readonly sync: Sync;
  readonly settings: Settings;
  /** Something did not verify; nothing waits for it. */
  report(e: unknown): void;
}

/** Keeps what the account itself has equal to what the server has of it: people, invitations, devices, keys. */
export class AccountSync {
  readonly #cfg: ChangesConfig;
  readonly #core: Core;
  #version = 0n;
  #taking: Promise<unknown> = Promise.resolve();

  constructor(cfg: ChangesConfig) {
    this.#cfg = cfg;
    this.#core = cfg.core;
  }

  async load(): Promise<void> {
    const stored = await this.#core.db.get("meta", Meta.accountVersion);
    if (typeof stored === "bigint") this.#version = stored;
  }

  /** Of the last change that is stored here. */
  get version(): bigint {
    return this.#version;
  }

  /** Takes a page of changes and the pages after it, one such call after the other. */
  take(first: AccountChanges): Promise<void> {
    const done = this.#taking.then(() => this.#pages(first));
    this.#taking = done.catch(() => undefined);
    return done;
  }

  /** Reads everything again: the server has an older copy of itself, whose versions mean other changes. */
  async again(): Promise<void> {
    const first = await this.#cfg.ask({ case: "accountSync", value: create(AccountSyncSchema) }, "accountChanges");
    this.#version = 0n;
    await this.take(first);
  }

  /**
   * Takes all pages before the conversations that they name: a conversation of the first page may need the person,
   * the invitation or the key on the last one to be checked and opened.
   */
  async #pages(first: AccountChanges): Promise<void> {
    const conversations: ConversationState[] = [];
    let changes = first;
    for (;;) {
      await this.#page(changes);
      conversations.push(...changes.conversations);
      const { version } = changes;
      if (!changes.more || version <= this.#version) break;
      this.#version = version; // stored when all of it is
      changes = await this.#cfg.ask(
        { case: "accountSync", value: create(AccountSyncSchema, { after: version }) },
        "accountChanges",
      );
    }
    for (const state of conversations) await this.#cfg.sync.state(state);
    if (changes.version === 0n) return;
    this.#version = changes.version;
    await this.#core.step(async (s) => void s.batch.set(Meta.accountVersion, changes.version));
  }

  /** What others depend on comes first: own devices, then own invitations, which vouch for people. */
  async #page(changes: AccountChanges): Promise<void> {
    await this.#self(changes);
    await this.#generations(changes.generationGrants);
    await this.#cfg.settings.take(changes.settings);
    await this.#try(async () => {
      if (await takeFormer(this.#core, changes.settings)) await this.#cfg.sync.keyArrived();
    });
    for (const state of changes.invitations) await this.#invitation(state);
    for (const contact of changes.contacts) {
      await this.#try(async () => {
        const wrong = await this.#core.step((s) => applyContact(s, contact));
        if (wrong !== null) throw wrong;
      });
    }
  }

  /** Does what must hold up nothing else; the connection alone may end it. */
  async #try(f: () => Promise<void>): Promise<void> {
    try {
      await f();
    } catch (e) {
      if (e instanceof OfflineError) throw e;
      this.#cfg.report(e);
    }
  }

  async #self(changes: AccountChanges): Promise<void> {
    const { profile, deviceList, devices, privacy } = changes;
    if (profile === undefined && deviceList === undefined && devices.length === 0 && privacy === undefined) return;
    await this.#core.step(async (s) => {
      const self = s.person(this.#core.account);
      if (profile !== undefined) {
        self.userName = profile.userName;
        self.nickname = profile.nickname;
        self.avatar = avatarOf(profile.avatar);
        self.admin = profile.admin;
        self.recovery = profile.recovery;
      }
      if (deviceList !== undefined) {
        const learned = await learnList(s, self, deviceList).catch(this.#cfg.report);
        if (learned === "other-identity") this.#cfg.report(new IdentityChangedError(self.account));
      }
      s.savePerson(self);
      if (privacy !== undefined) s.savePrivacy(privacyOf(privacy));
      for (const d of devices)
        s.saveDevice({
          device: idFrom(d.device),
          name: d.name,
          created: Number(d.createdMs),
          lastUsed: Number(d.lastUsedMs),
          address: d.lastAddress,
          ended: d.ended,
        });
    });
  }

  async #invitation(state: InvitationState): Promise<void> {
    await this.#try(async () => {
      try {
        await this.#core.step((s) => keepInvitation(s, state));
      } catch (e) {
        if (!(e instanceof UnknownDeviceError)) throw e;
        await this.#cfg.sync.lists(this.#core.account); // a device that was revoked since made it
        await this.#core.step((s) => keepInvitation(s, state));
      }
    });
  }

  /** Takes the keys of new generations that another device of the account sealed to this one. */
  async #generations(grants: readonly GenerationGrant[]): Promise<void> {
    let taken = false;
    for (const g of grants) {
      await this.#try(async () => {
        taken = (await this.#generation(g)) || taken;
      });
    }
    if (!taken) return;
    await this.#cfg.settings.keyArrived();
    await this.#cfg.sync.keyArrived();
  }

  async #generation(g: GenerationGrant): Promise<boolean> {
    const { profile, account, device } = this.#core;
    if (idFrom(g.device) !== device || profile.accountKeys.some((k) => k.generation === g.generation)) return false;
    const key = await openGeneration({ privateKey: profile.sealKey, publicKey: profile.sealPublic }, account, g);
    const list = await this.#core.list(this.#core.people.get(account));
    // Anybody can seal to this device: only the account's own list says which key it has. Others see lists that lie between.
    if (list !== null && list.list.generation === g.generation) {
      const { publicKey } = await importSealPair(key);
      if (!equal(publicKey, list.list.accountKey)) throw forbidden("it is not the key that the account's list names");
    } else if (list === null || list.list.generation < g.generation) throw forbidden("no list names that generation");
    const sealed = await sealAccountKey(profile.storeKey, account, key);
    await this.#core.step(async (s) => {
      const accountKeys = [...profile.accountKeys, { generation: g.generation, sealed }];
      s.batch.set(Meta.profile, { ...profile, accountKeys });
      s.afterwards(() => {
        profile.accountKeys = accountKeys;
      });
    });
    return true;
  }
}

function privacyOf({ hidePresence, hideRead, hideTyping }: PrivacyMessage): Privacy {
  return { hidePresence, hideRead, hideTyping };
}
