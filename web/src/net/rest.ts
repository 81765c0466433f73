import { type DescMessage, fromJson, type MessageShape, toJsonString } from "@bufbuild/protobuf";
import { codeOf, WireError } from "../wire/errors.ts";
import { ProblemSchema } from "../wire/schema.ts";

/** The server did not answer, or what answered is not a Parley server. */
export class UnreachableError extends Error {
  constructor(message = "the server does not answer") {
    super(message);
    this.name = "UnreachableError";
  }
}

/** Milliseconds until a request is given up. */
const TIMEOUT = 20_000;

/** The REST API of the server that served this page (docs/PROTOCOL.md §8). */
export class Rest {
  readonly #base: string;
  readonly #fetcher: typeof fetch;

  /** base is the server's origin; the browser's cookie authenticates. */
  constructor(base: string, fetcher: typeof fetch = (input, init) => fetch(input, init)) {
    this.#base = base;
    this.#fetcher = fetcher;
  }

  /** Sends a message and reads the answer. Throws WireError for what the server refuses, else UnreachableError. */
  async call<A extends DescMessage>(method: "GET" | "POST" | "PUT" | "DELETE", path: string, answer: A, body?: string) {
    const response = await this.#fetch(method, path, body);
    try {
      return fromJson(answer, await response.json(), { ignoreUnknownFields: true });
    } catch {
      throw new UnreachableError("what answered is not a Parley server");
    }
  }

  /** Sends a message that has no answer but success. */
  async send(method: "POST" | "PUT" | "DELETE", path: string, body?: string): Promise<void> {
    await this.#fetch(method, path, body);
  }

  /** Puts bytes that speak for themselves, such as a picture. */
  async upload(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#fetch("PUT", path, bytes, "application/octet-stream");
  }

  async #fetch(
    method: string,
    path: string,
    body?: string | Uint8Array<ArrayBuffer>,
    type = "application/json",
  ): Promise<Response> {
    let response: Response;
    try {
      response = await this.#fetcher(this.#base + path, {
        method,
        headers: { "X-Parley": "1", ...(body === undefined ? {} : { "Content-Type": type }) },
        credentials: "same-origin",
        cache: "no-store",
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT),
        ...(body === undefined ? {} : { body }),
      });
    } catch {
      throw new UnreachableError();
    }
    if (response.ok) return response;
    throw await refusal(response);
  }
}

async function refusal(response: Response): Promise<Error> {
  try {
    const problem = fromJson(ProblemSchema, await response.json(), { ignoreUnknownFields: true });
    return new WireError(codeOf(problem.code), problem.detail, Number(problem.retryAfterMs));
  } catch {
    return new UnreachableError(`the server answered with status ${response.status}`);
  }
}

/** A request's body: protobuf JSON. */
export function body<D extends DescMessage>(schema: D, message: MessageShape<D>): string {
  return toJsonString(schema, message);
}
