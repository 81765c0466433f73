// The messages of proto/parley/v1, under one name: import * as pb from "./schema.ts".
export * from "./gen/parley/v1/account_pb.ts";
export * from "./gen/parley/v1/conversation_pb.ts";
export * from "./gen/parley/v1/frame_pb.ts";
export * from "./gen/parley/v1/link_pb.ts";
export * from "./gen/parley/v1/rest_pb.ts";
