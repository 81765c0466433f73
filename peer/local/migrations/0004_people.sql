-- +goose Up
-- What else the server tells of people: whom this account blocks, their picture, by which invitation they came, and that an
-- account was deleted.
ALTER TABLE people ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE people ADD COLUMN avatar BLOB;                          -- SHA-256 of it
ALTER TABLE people ADD COLUMN invitation TEXT NOT NULL DEFAULT '';  -- code of an own one
ALTER TABLE people ADD COLUMN deleted_ms INTEGER NOT NULL DEFAULT 0;

-- Settings that the account's devices share, as the server has them, and what is in those that open here.
CREATE TABLE settings (
  key    TEXT PRIMARY KEY,
  sealed BLOB NOT NULL,
  opened INTEGER NOT NULL,
  value  BLOB,
  person BLOB                    -- account that it is about
) WITHOUT ROWID;
CREATE UNIQUE INDEX settings_person ON settings (person) WHERE person IS NOT NULL;

-- The account's devices, ended or not.
CREATE TABLE devices (
  device       BLOB PRIMARY KEY,
  name         TEXT NOT NULL,
  created_ms   INTEGER NOT NULL,
  last_used_ms INTEGER NOT NULL,
  last_address TEXT NOT NULL,
  ended        INTEGER NOT NULL
) WITHOUT ROWID;

-- The account's own invitations; body is the verified Invitation.
CREATE TABLE invitations (
  code      TEXT PRIMARY KEY,
  body      BLOB NOT NULL,
  uses_left INTEGER NOT NULL,
  revoked   INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO invitations (code, body, uses_left, revoked) SELECT substr(key, 12), value, 0, 0 FROM kv WHERE key LIKE 'invitation/%';
DELETE FROM kv WHERE key LIKE 'invitation/%';

-- All of this was passed over until now: the server is asked for everything once more.
DELETE FROM kv WHERE key = 'account_version';
