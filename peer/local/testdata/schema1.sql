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

-- What the first program wrote: a conversation with three numbered messages, one that waits and one that failed.
CREATE TABLE goose_db_version (
  id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now'))
);
INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1);
INSERT INTO kv (key, value) VALUES ('account_version', X'0000000000000007'), ('invitation/aaaa', X'66');
INSERT INTO people (account, user_name, nickname, state, since_ms, identity_key, list_version)
  VALUES (X'0A000000000000000000000000000000', 'ben', 'Ben', 4, 1700000000000, X'11', 2);
INSERT INTO device_keys (account, device, sign_key, seal_key) VALUES (X'0A000000000000000000000000000000', X'0B000000000000000000000000000000', X'22', X'33');
INSERT INTO conversations (id, kind, chain, through_seq, head_seq, read_seq, unread, needs_epoch, counter)
  VALUES (X'0C000000000000000000000000000000', 1, X'44', 5, 5, 3, 1, 0, 2);
INSERT INTO epochs (conversation, epoch, key) VALUES (X'0C000000000000000000000000000000', 1, X'55');
INSERT INTO cursors (conversation, account, delivered_seq, read_seq) VALUES (X'0C000000000000000000000000000000', X'0A000000000000000000000000000000', 4, 3);
INSERT INTO messages (arrival, conversation, seq, device, id, account, kind, time_ms, hash, content, path, status, acked, failure) VALUES
  (1, X'0C000000000000000000000000000000', 2, X'0B000000000000000000000000000000', X'01010101010101010101010101010101', X'0A000000000000000000000000000000', 1, 1700000000001, X'A1', X'0A040A026F6E', 1, 0, 0, ''),
  (2, X'0C000000000000000000000000000000', 4, X'0B000000000000000000000000000000', X'02020202020202020202020202020202', X'0A000000000000000000000000000000', 1, 1700000000002, X'A2', X'0A050A0374776F', 3, 0, 0, ''),
  (3, X'0C000000000000000000000000000000', 3, X'0D000000000000000000000000000000', X'03030303030303030303030303030303', X'0E000000000000000000000000000000', 1, 1700000000003, X'A3', X'0A040A026D65', 1, 0, 1, ''),
  (4, X'0C000000000000000000000000000000', NULL, X'0D000000000000000000000000000000', X'04040404040404040404040404040404', X'0E000000000000000000000000000000', 1, 1700000000004, X'A4', X'0A060A0477616974', 0, 1, 0, ''),
  (5, X'0C000000000000000000000000000000', NULL, X'0D000000000000000000000000000000', X'05050505050505050505050505050505', X'0E000000000000000000000000000000', 1, 1700000000005, X'A5', X'0A040A026E6F', 0, 2, 0, 'refused');
