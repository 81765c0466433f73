// What an administrator sees, in memory.
import type { Admin, PlaceInvitation, PlaceSettings, PlaceStats, PlaceUser } from "../../state/types.ts";

const day = 86_400_000; // ms

function user(account: string, name: string, more: Partial<PlaceUser> = {}): PlaceUser {
  const now = Date.now();
  return {
    account,
    userName: account,
    name,
    admin: false,
    created: now - 90 * day,
    lastSeen: now - 2 * day,
    suspended: 0,
    devices: 1,
    bytes: 3_400_000,
    ...more,
  };
}

export class DoubleAdmin implements Admin {
  #users = [
    user("yara", "Yara", { admin: true, devices: 2, bytes: 21_000_000, lastSeen: Date.now() }),
    user("mia", "Mia", { devices: 2 }),
    user("ben", "Benjamin Okoye", { bytes: 900 }),
    user("0b9c6f1e-guest", "阿宁", { userName: "", bytes: 12_000 }),
    user("rob", "Rob", { suspended: Date.now() - 3 * day }),
  ];
  #invitations: PlaceInvitation[] = [
    {
      code: "k7q2m4x9p3w5t8ra",
      account: "mia",
      name: "Mia",
      uses: 5,
      usesLeft: 3,
      created: Date.now() - 2 * day,
      expires: Date.now() + 5 * day,
      revoked: false,
    },
  ];
  #settings: PlaceSettings = { registration: "invite", name: "Repair Café" };

  async users(query: string): Promise<{ users: readonly PlaceUser[]; after: string }> {
    const wanted = query.toLowerCase();
    return { users: this.#users.filter((one) => one.name.toLowerCase().includes(wanted)), after: "" };
  }

  async suspend(account: string, on: boolean): Promise<void> {
    this.#users = this.#users.map((one) =>
      one.account === account ? { ...one, suspended: on ? Date.now() : 0 } : one,
    );
  }

  async reset(): Promise<string> {
    return "https://talk.example/reset#k7q2m4x9p3w5t8rak7q2m4x9p3";
  }

  async invitations(): Promise<{ invitations: readonly PlaceInvitation[]; after: string }> {
    return { invitations: this.#invitations, after: "" };
  }

  async revokeInvitation(code: string): Promise<void> {
    this.#invitations = this.#invitations.map((one) => (one.code === code ? { ...one, revoked: true } : one));
  }

  async stats(): Promise<PlaceStats> {
    return {
      accounts: 41,
      seenToday: 17,
      suspended: 1,
      devices: 63,
      connections: 22,
      conversations: 118,
      messages: 48_211,
      bytes: 91_400_000,
      invitations: 4,
    };
  }

  async settings(): Promise<PlaceSettings> {
    return this.#settings;
  }

  async change(settings: Partial<PlaceSettings>): Promise<PlaceSettings> {
    this.#settings = { ...this.#settings, ...settings };
    return this.#settings;
  }
}
