import type { DeviceList } from "../../wire/devices.ts";
import type { ID } from "../../wire/ids.ts";
import type { Frame, IceServers, Signal } from "../../wire/schema.ts";
import type { SigningKey } from "../../wire/sign.ts";
import type { Link } from "./link.ts";

/** What links need of the rest. */
export interface LinkConfig {
  readonly self: { readonly account: ID; readonly device: ID; readonly key: SigningKey };
  readonly lists: {
    /** Throws while it is not known. */
    own(): DeviceList;
    /** The newest list known of an account that names the device, asked for when it is not known. Throws. */
    lookup(account: ID, device: ID): Promise<DeviceList>;
    /** A list that the other end sent about itself. Throws when it is not one to take. */
    offer(list: DeviceList): Promise<void>;
  };
  readonly signals: {
    /** Sends through the server; false when that is not possible now. */
    send(account: ID, device: ID, signal: Signal): boolean;
  };
  ice(): Promise<IceServers | null>;
  peerConnection(c: RTCConfiguration): RTCPeerConnection;
  /** Whether the links to an account go through TURN alone, so that it does not learn this device's addresses. */
  relayOnly(account: ID): boolean;
  /** Frames of a proven link, in order. */
  frame(link: Link, f: Frame): void;
  /** A link opened, ended or changed its path. */
  changed(link: Link): void;
  /** Loopback addresses count only if the server itself was reached on loopback. */
  readonly allowLoopback: boolean;
}
