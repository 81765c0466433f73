// What a hostile or unlucky server does to frames.
import { create } from "@bufbuild/protobuf";
import {
  type Envelope,
  type ErrorCode,
  ErrorSchema,
  type Event,
  EventSchema,
  type Frame,
  FrameSchema,
  Posted_ResultSchema,
  PostedSchema,
  PostSchema,
} from "../../wire/schema.ts";
import type { Tamper } from "./line.ts";

type Value<C extends Frame["kind"]["case"]> = Extract<Frame["kind"], { case: C }>["value"];

/** A frame of the same request with something else in it. */
export function instead(f: Frame, kind: Frame["kind"]): Frame {
  return create(FrameSchema, { request: f.request, kind });
}

/** Changes frames of one kind. */
export function change<C extends NonNullable<Frame["kind"]["case"]>>(
  kind: C,
  f: (value: NonNullable<Value<C>>, frame: Frame) => Frame | readonly Frame[] | null | undefined,
): Tamper {
  return (frame) => (frame.kind.case === kind ? f(frame.kind.value as NonNullable<Value<C>>, frame) : undefined);
}

/** The relay's answer to posts names an error for the messages that are picked. */
export function refuse(code: ErrorCode, message = "no", pick: (i: number) => boolean = () => true): Tamper {
  return change("posted", (posted, frame) => {
    const error = create(ErrorSchema, { code, message });
    const results = posted.results.map((r, i) => (pick(i) ? create(Posted_ResultSchema, { error }) : r));
    return instead(frame, { case: "posted", value: create(PostedSchema, { results }) });
  });
}

/** Messages that are picked reach the relay without their signature: it refuses them by itself. */
export function spoil(pick: (i: number) => boolean = () => true): Tamper {
  return change("post", (post, frame) => {
    const envelopes = post.envelopes.map((e, i) => (pick(i) ? { ...e, signature: new Uint8Array(1) } : e));
    return instead(frame, { case: "post", value: create(PostSchema, { envelopes }) });
  });
}

/** Changes every envelope that the server pushes or pages. */
export function envelopes(f: (e: Envelope, event: Event) => Envelope): Tamper {
  const all = (events: readonly Event[]): Event[] =>
    events.map((event) =>
      event.kind.case === "envelope"
        ? create(EventSchema, { ...event, kind: { case: "envelope", value: f(event.kind.value, event) } })
        : event,
    );
  return (frame) => {
    const { kind } = frame;
    if (kind.case === "events")
      return instead(frame, { case: "events", value: { ...kind.value, events: all(kind.value.events) } });
    if (kind.case === "page")
      return instead(frame, { case: "page", value: { ...kind.value, events: all(kind.value.events) } });
    return undefined;
  };
}

export const nothing: Tamper = () => undefined;
