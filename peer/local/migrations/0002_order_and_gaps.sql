-- +goose Up
-- What was numbered stands by its number, what waits for one at the end, what will never have one where it came.
ALTER TABLE messages ADD COLUMN place INTEGER NOT NULL DEFAULT 0;   -- see placeOf
ALTER TABLE messages ADD COLUMN after_seq INTEGER NOT NULL DEFAULT 0; -- newest number here when it came
ALTER TABLE messages ADD COLUMN counter INTEGER NOT NULL DEFAULT 0; -- of its sender's device, 0: from before this column
ALTER TABLE messages ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;   -- that its envelope is sealed under, likewise
ALTER TABLE messages ADD COLUMN altered INTEGER NOT NULL DEFAULT 0; -- the relay's copy says something else than the direct one did
ALTER TABLE messages ADD COLUMN timed INTEGER NOT NULL DEFAULT 0;   -- time_ms was compared with the relay's
UPDATE messages SET timed = seq IS NOT NULL;
UPDATE messages SET after_seq = COALESCE((SELECT through_seq FROM conversations WHERE id = conversation), 0) WHERE seq IS NULL;
UPDATE messages SET place = CASE WHEN seq IS NOT NULL THEN seq * 2 WHEN status IN (2, 5) THEN after_seq * 2 + 1 ELSE 9223372036854775807 END;
CREATE INDEX messages_place ON messages (conversation, place, arrival);

-- The newest event of the relay's log that is stored here, to be compared with the relay's.
ALTER TABLE conversations ADD COLUMN known_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN known_hash BLOB;
UPDATE conversations SET known_seq = COALESCE((SELECT MAX(seq) FROM messages WHERE conversation = conversations.id AND seq <= through_seq), 0);
UPDATE conversations SET known_hash = (SELECT hash FROM messages WHERE conversation = conversations.id AND seq = known_seq);
-- While a log that turned out to be another one is read from its beginning: the chain that it gives, and whether that has
-- come to the head of the one in force.
ALTER TABLE conversations ADD COLUMN rereading INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN reread_chain BLOB;
ALTER TABLE conversations ADD COLUMN reread_met INTEGER NOT NULL DEFAULT 0;
-- The epoch in force went back: this device seals nothing before a new one begins.
ALTER TABLE conversations ADD COLUMN wants_epoch INTEGER NOT NULL DEFAULT 0;

-- How many of a device's envelopes are here, and the highest counter: the difference is missing.
CREATE TABLE senders (
  conversation BLOB NOT NULL,
  device       BLOB NOT NULL,
  account      BLOB NOT NULL,
  high         INTEGER NOT NULL,
  have         INTEGER NOT NULL,
  told         INTEGER NOT NULL DEFAULT 0, -- how many were reported as missing
  PRIMARY KEY (conversation, device)
) WITHOUT ROWID;
-- Of what came before counters were kept nothing is known to be missing: the next envelope sets the start.
INSERT INTO senders (conversation, device, account, high, have) SELECT DISTINCT conversation, device, account, -1, -1 FROM messages;
