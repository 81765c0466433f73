-- +goose Up
CREATE TABLE kv (
  key   TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;

-- Everybody this device knows of: itself, contacts, members of shared conversations.
CREATE TABLE people (
  account      BLOB PRIMARY KEY,
  user_name    TEXT NOT NULL DEFAULT '',
  nickname     TEXT NOT NULL DEFAULT '',
  state        INTEGER NOT NULL DEFAULT 0,
  note         TEXT NOT NULL DEFAULT '',
  conversation BLOB,
  since_ms     INTEGER NOT NULL DEFAULT 0,
  identity_key BLOB,             -- pinned at first sight
  new_identity BLOB,             -- a different one seen since; holds sending
  list_version INTEGER NOT NULL DEFAULT 0,
  list_body    BLOB,
  list_sig     BLOB
) WITHOUT ROWID;

-- Every device key that a verified list ever named: old messages stay verifiable.
CREATE TABLE device_keys (
  account  BLOB NOT NULL,
  device   BLOB NOT NULL,
  sign_key BLOB NOT NULL,
  seal_key BLOB NOT NULL,
  PRIMARY KEY (account, device)
) WITHOUT ROWID;

CREATE TABLE conversations (
  id          BLOB PRIMARY KEY,
  kind        INTEGER NOT NULL,
  chain       BLOB,              -- membership computed from verified commits
  through_seq INTEGER NOT NULL DEFAULT 0,
  head_seq    INTEGER NOT NULL DEFAULT 0,
  read_seq    INTEGER NOT NULL DEFAULT 0,
  unread      INTEGER NOT NULL DEFAULT 0,
  needs_epoch INTEGER NOT NULL DEFAULT 0,
  counter     INTEGER NOT NULL DEFAULT 0  -- of this device's envelopes here
) WITHOUT ROWID;

CREATE TABLE epochs (
  conversation BLOB NOT NULL,
  epoch        INTEGER NOT NULL,
  key          BLOB NOT NULL,
  PRIMARY KEY (conversation, epoch)
) WITHOUT ROWID;

CREATE TABLE cursors (
  conversation  BLOB NOT NULL,
  account       BLOB NOT NULL,
  delivered_seq INTEGER NOT NULL DEFAULT 0,
  read_seq      INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (conversation, account)
) WITHOUT ROWID;

CREATE TABLE messages (
  arrival      INTEGER PRIMARY KEY,  -- order in which this device came to have it
  conversation BLOB NOT NULL,
  seq          INTEGER,              -- NULL until the relay's number is known
  device       BLOB NOT NULL,
  id           BLOB NOT NULL,
  account      BLOB NOT NULL,
  kind         INTEGER NOT NULL,
  time_ms      INTEGER NOT NULL,
  hash         BLOB NOT NULL,
  content      BLOB,                 -- opened; NULL while the key is missing or when blanked
  envelope     BLOB,                 -- kept while it is needed: not opened yet, or not posted yet
  path         INTEGER NOT NULL DEFAULT 0,
  status       INTEGER NOT NULL DEFAULT 0,
  acked        INTEGER NOT NULL DEFAULT 0,   -- a device at the other end stored it directly
  failure      TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX messages_ref ON messages (conversation, device, id);
CREATE UNIQUE INDEX messages_seq ON messages (conversation, seq);
CREATE INDEX messages_status ON messages (status, arrival);
