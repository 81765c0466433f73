-- +goose Up
-- Times are milliseconds since 1970 UTC. Public ids are 16 bytes; rows refer to each other by integers.

CREATE TABLE meta (
  name  VARCHAR(64) PRIMARY KEY,
  value BLOB NOT NULL
);

CREATE TABLE accounts (
  id             INTEGER PRIMARY KEY,
  public_id      BLOB NOT NULL UNIQUE,
  user_name      VARCHAR(64),            -- as typed; NULL for a name-first account
  user_key       VARCHAR(64) UNIQUE,     -- folded
  nickname       VARCHAR(255) NOT NULL,
  identity_key   BLOB NOT NULL,
  list_version   BIGINT NOT NULL,
  generation     INTEGER NOT NULL,       -- of the account key in the list in force
  version        BIGINT NOT NULL DEFAULT 0, -- counter of account_log
  admin          INTEGER NOT NULL DEFAULT 0,
  pw_memory      INTEGER NOT NULL DEFAULT 0,
  pw_time        INTEGER NOT NULL DEFAULT 0,
  pw_parallelism INTEGER NOT NULL DEFAULT 0,
  pw_salt        BLOB,
  pw_host        VARCHAR(255) NOT NULL DEFAULT '',
  auth_salt      BLOB,
  auth_hash      BLOB,
  wrapped_master BLOB,
  wrapped_recovery BLOB,
  key_ring       BLOB,
  last_seen_ms   BIGINT NOT NULL DEFAULT 0,
  created_ms     BIGINT NOT NULL,
  suspended_ms   BIGINT,
  deleted_ms     BIGINT
);

CREATE TABLE device_lists (
  account_id BIGINT NOT NULL,
  version    BIGINT NOT NULL,
  body       BLOB NOT NULL,
  signature  BLOB NOT NULL,
  PRIMARY KEY (account_id, version)
) WITHOUT ROWID;

CREATE TABLE devices (
  id           INTEGER PRIMARY KEY,
  public_id    BLOB NOT NULL UNIQUE,
  account_id   BIGINT NOT NULL,
  name         VARCHAR(255) NOT NULL,
  sign_key     BLOB NOT NULL,
  seal_key     BLOB NOT NULL,
  created_ms   BIGINT NOT NULL,
  last_used_ms BIGINT NOT NULL,
  ended_ms     BIGINT                  -- signed out or revoked
);
CREATE INDEX devices_account ON devices (account_id);

CREATE TABLE generation_grants (
  device_id  BIGINT NOT NULL,
  generation INTEGER NOT NULL,
  enc        BLOB NOT NULL,
  ciphertext BLOB NOT NULL,
  PRIMARY KEY (device_id, generation)
) WITHOUT ROWID;

CREATE TABLE sessions (
  token_hash BLOB PRIMARY KEY,
  device_id  BIGINT NOT NULL,
  created_ms BIGINT NOT NULL,
  expires_ms BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_device ON sessions (device_id);

CREATE TABLE tickets (
  token_hash BLOB PRIMARY KEY,
  purpose    INTEGER NOT NULL,
  account_id BIGINT NOT NULL,
  device_id  BIGINT NOT NULL DEFAULT 0,
  expires_ms BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX tickets_expires ON tickets (expires_ms);

-- Two rows for a pair: how each sees the other.
CREATE TABLE contacts (
  account_id     BIGINT NOT NULL,
  peer_id        BIGINT NOT NULL,
  state          INTEGER NOT NULL,
  note           VARCHAR(1024) NOT NULL DEFAULT '',
  invitation_id  BIGINT,
  join_body      BLOB,
  join_signature BLOB,
  since_ms       BIGINT NOT NULL,
  PRIMARY KEY (account_id, peer_id)
) WITHOUT ROWID;

CREATE TABLE invitations (
  id              INTEGER PRIMARY KEY,
  code            VARCHAR(32) NOT NULL UNIQUE,
  account_id      BIGINT NOT NULL,
  conversation_id BIGINT,                 -- NULL: the pair of inviter and joiner
  rights          INTEGER NOT NULL DEFAULT 0,
  sealed          BLOB NOT NULL,
  body            BLOB NOT NULL,
  signature       BLOB NOT NULL,
  uses            INTEGER NOT NULL,
  uses_left       INTEGER NOT NULL,
  expires_ms      BIGINT NOT NULL,
  created_ms      BIGINT NOT NULL,
  revoked_ms      BIGINT
);
CREATE INDEX invitations_account ON invitations (account_id);

CREATE TABLE invitation_uses (
  invitation_id BIGINT NOT NULL,
  account_id    BIGINT NOT NULL,
  used_ms       BIGINT NOT NULL,
  PRIMARY KEY (invitation_id, account_id)
) WITHOUT ROWID;

-- One row per object of an account that its devices follow; its version rises when the object changes.
CREATE TABLE account_log (
  account_id BIGINT NOT NULL,
  kind       INTEGER NOT NULL,
  ref        VARBINARY(80) NOT NULL,
  version    BIGINT NOT NULL,
  PRIMARY KEY (account_id, kind, ref)
) WITHOUT ROWID;
CREATE UNIQUE INDEX account_log_version ON account_log (account_id, version);

CREATE TABLE settings (
  account_id BIGINT NOT NULL,
  name       VARCHAR(64) NOT NULL,
  value      BLOB NOT NULL,
  PRIMARY KEY (account_id, name)
) WITHOUT ROWID;

CREATE TABLE conversations (
  id                INTEGER PRIMARY KEY,
  public_id         BLOB NOT NULL UNIQUE,
  kind              INTEGER NOT NULL,
  suite             INTEGER NOT NULL,
  epoch             BIGINT NOT NULL,      -- in force; also the number of the head commit
  head_commit       BLOB NOT NULL,
  chain             BLOB NOT NULL,        -- membership as the commits give it
  needs_epoch       INTEGER NOT NULL DEFAULT 0,
  retention         INTEGER NOT NULL DEFAULT 0,
  retention_seconds BIGINT NOT NULL DEFAULT 0,
  created_ms        BIGINT NOT NULL,
  deleted_ms        BIGINT
);

CREATE TABLE members (
  conversation_id BIGINT NOT NULL,
  account_id      BIGINT NOT NULL,
  role            INTEGER NOT NULL,
  joined_seq      BIGINT NOT NULL,
  left_seq        BIGINT NOT NULL DEFAULT 0, -- 0: a member
  delivered_seq   BIGINT NOT NULL DEFAULT 0, -- highest of the account's devices
  read_seq        BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (conversation_id, account_id)
) WITHOUT ROWID;
CREATE INDEX members_account ON members (account_id);

CREATE TABLE device_cursors (
  device_id       BIGINT NOT NULL,
  conversation_id BIGINT NOT NULL,
  delivered_seq   BIGINT NOT NULL,
  PRIMARY KEY (device_id, conversation_id)
) WITHOUT ROWID;

CREATE TABLE commits (
  conversation_id BIGINT NOT NULL,
  number          BIGINT NOT NULL,        -- also the epoch that it starts
  seq             BIGINT NOT NULL,
  hash            BLOB NOT NULL,
  body            BLOB NOT NULL,
  signature       BLOB NOT NULL,
  PRIMARY KEY (conversation_id, number)
) WITHOUT ROWID;

CREATE TABLE grants (
  conversation_id BIGINT NOT NULL,
  epoch           BIGINT NOT NULL,
  account_id      BIGINT NOT NULL,
  generation      INTEGER NOT NULL,
  enc             BLOB NOT NULL,
  ciphertext      BLOB NOT NULL,
  PRIMARY KEY (conversation_id, epoch, account_id)
) WITHOUT ROWID;

-- Every number of every conversation. The primary key is (conversation, seq) packed into one integer,
-- conversation_id << 32 | seq: a page of history is one range of it, and an integer key makes inserts
-- twice as fast as a composite one. Rows are blanked, never deleted, so the last row of a conversation
-- holds its head and running count, and posting is one insert.
CREATE TABLE messages (
  place           INTEGER PRIMARY KEY,
  conversation_id BIGINT NOT NULL,
  account_id      BIGINT NOT NULL,
  device_id       BIGINT NOT NULL,
  id              BLOB NOT NULL,          -- of a commit: the first 16 bytes of its hash
  type            INTEGER NOT NULL,       -- 0 envelope, 1 commit
  epoch           BIGINT NOT NULL,
  counter         BIGINT NOT NULL,
  kind            INTEGER NOT NULL,
  counted         BIGINT NOT NULL,        -- messages that count as unread, up to and with this one
  sender_counted  BIGINT NOT NULL,        -- likewise, of this sender
  header          BLOB,
  ciphertext      BLOB,                   -- NULL when blanked
  signature       BLOB,
  hash            BLOB NOT NULL,
  ciphertext_hash BLOB,
  replaces_device BLOB,
  replaces_id     BLOB,
  relay_ms        BIGINT NOT NULL,
  expires_ms      BIGINT NOT NULL DEFAULT 0,
  blanked_ms      BIGINT NOT NULL DEFAULT 0,
  node            INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX messages_ref ON messages (conversation_id, device_id, id);
CREATE INDEX messages_sender ON messages (conversation_id, account_id, place, sender_counted);

CREATE TABLE nodes (
  id         INTEGER PRIMARY KEY,
  name       VARCHAR(64) NOT NULL UNIQUE,
  started_ms BIGINT NOT NULL,
  seen_ms    BIGINT NOT NULL
);
