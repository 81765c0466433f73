-- +goose Up
-- Ids are UUIDv7: they rise with time. With the id in front, the entries of messages that are stored together stand on
-- the same few pages; with the conversation in front each dirtied a page of its own.
DROP INDEX messages_ref;
CREATE UNIQUE INDEX messages_ref ON messages (id, device_id, conversation_id);
