import { create } from "@bufbuild/protobuf";
import { body, type Rest } from "../net/rest.ts";
import { idFrom } from "../wire/ids.ts";
import {
  AdminInvitationsSchema,
  AdminResetSchema,
  AdminSettingsSchema,
  AdminStatsSchema,
  AdminSuspendSchema,
  AdminUsersSchema,
} from "../wire/schema.ts";
import { command } from "./failures.ts";
import type { Admin, PlaceInvitation, PlaceSettings, PlaceStats, PlaceUser } from "./types.ts";

const ROOT = "/api/v1/admin";

/** What an administrator asks of the server (docs/PROTOCOL.md §3, §8). Everything rejects with a CommandError. */
export class AdminClient implements Admin {
  readonly #rest: Rest;
  readonly #base: string;

  /** base is the server's origin. */
  constructor(rest: Rest, base: string) {
    this.#rest = rest;
    this.#base = base;
  }

  users(query: string, after: string): Promise<{ users: PlaceUser[]; after: string }> {
    return command(async () => {
      const search = new URLSearchParams({ q: query, after });
      const page = await this.#rest.call("GET", `${ROOT}/users?${search}`, AdminUsersSchema);
      const users = page.users.map((u) => ({
        account: idFrom(u.account),
        userName: u.userName,
        name: u.nickname || u.userName,
        admin: u.admin,
        created: Number(u.createdMs),
        lastSeen: Number(u.lastSeenMs),
        suspended: Number(u.suspendedMs),
        devices: u.devices,
        bytes: Number(u.storedBytes),
      }));
      return { users, after: page.after };
    });
  }

  suspend(account: string, suspended: boolean): Promise<void> {
    const request = body(AdminSuspendSchema, create(AdminSuspendSchema, { suspended }));
    return command(() => this.#rest.send("PUT", `${ROOT}/users/${account}/suspension`, request));
  }

  reset(account: string): Promise<string> {
    return command(async () => {
      const { code } = await this.#rest.call("POST", `${ROOT}/users/${account}/reset`, AdminResetSchema);
      return `${this.#base}/reset#${code}`;
    });
  }

  invitations(after: string): Promise<{ invitations: PlaceInvitation[]; after: string }> {
    return command(async () => {
      const search = new URLSearchParams({ after });
      const page = await this.#rest.call("GET", `${ROOT}/invitations?${search}`, AdminInvitationsSchema);
      const invitations = page.invitations.map((i) => ({
        code: i.code,
        account: idFrom(i.account),
        name: i.nickname,
        uses: i.uses,
        usesLeft: i.usesLeft,
        created: Number(i.createdMs),
        expires: Number(i.expiresMs),
        revoked: i.revoked,
      }));
      return { invitations, after: page.after };
    });
  }

  revokeInvitation(code: string): Promise<void> {
    return command(() => this.#rest.send("DELETE", `${ROOT}/invitations/${encodeURIComponent(code)}`));
  }

  stats(): Promise<PlaceStats> {
    return command(async () => {
      const s = await this.#rest.call("GET", `${ROOT}/stats`, AdminStatsSchema);
      return {
        accounts: Number(s.accounts),
        seenToday: Number(s.accountsSeenToday),
        suspended: Number(s.suspended),
        devices: Number(s.devices),
        connections: Number(s.connections),
        conversations: Number(s.conversations),
        messages: Number(s.messages),
        bytes: Number(s.databaseBytes),
        invitations: Number(s.invitationsOpen),
      };
    });
  }

  settings(): Promise<PlaceSettings> {
    return command(async () => settingsOf(await this.#rest.call("GET", `${ROOT}/settings`, AdminSettingsSchema)));
  }

  change(settings: Partial<PlaceSettings>): Promise<PlaceSettings> {
    const { registration = "", name = "" } = settings; // what is empty stays as it is
    const request = body(AdminSettingsSchema, create(AdminSettingsSchema, { registration, serverName: name }));
    return command(async () =>
      settingsOf(await this.#rest.call("PUT", `${ROOT}/settings`, AdminSettingsSchema, request)),
    );
  }
}

function settingsOf({ registration, serverName }: { registration: string; serverName: string }): PlaceSettings {
  const known = registration === "open" || registration === "closed" ? registration : "invite";
  return { registration: known, name: serverName };
}
