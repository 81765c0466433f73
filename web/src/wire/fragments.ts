import { type Bytes, concat } from "./bytes.ts";
import { malformed, tooLarge } from "./errors.ts";
import { MAX_FRAGMENT, MAX_FRAME } from "./limits.ts";

const LAST = Uint8Array.of(0);
const MORE = Uint8Array.of(1);

/**
 * Cuts a frame into the messages of a control channel: a byte that says whether more follows (1) or not
 * (0), and up to MAX_FRAGMENT-1 bytes.
 */
export function fragments(frame: Uint8Array): Bytes[] {
  const room = MAX_FRAGMENT - 1;
  const out: Bytes[] = [];
  let at = 0;
  for (; frame.length - at > room; at += room) out.push(concat(MORE, frame.subarray(at, at + room)));
  out.push(concat(LAST, frame.subarray(at)));
  return out;
}

/** Joins the messages of one control channel into frames. */
export class Reassembler {
  #parts: Bytes[] = [];
  #size = 0;

  /**
   * Takes the next message, which it copies, and returns the frame that it completes, null while more is
   * to come. At most MAX_FRAME bytes are kept. After an error the channel is of no more use.
   */
  add(message: Uint8Array): Bytes | null {
    const first = message[0];
    if (first !== 0 && first !== 1) throw malformed("a fragment does not say whether more follows");
    if (message.length > MAX_FRAGMENT || (first === 1 && message.length === 1)) {
      throw malformed("a fragment has the wrong size");
    }
    if (this.#size + message.length - 1 > MAX_FRAME) throw tooLarge(`a frame is larger than ${MAX_FRAME} bytes`);
    this.#parts.push(new Uint8Array(message.subarray(1)));
    this.#size += message.length - 1;
    if (first === 1) return null;
    const frame = concat(...this.#parts);
    this.#parts = [];
    this.#size = 0;
    return frame;
  }
}
