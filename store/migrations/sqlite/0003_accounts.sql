-- +goose Up
-- Accounts that last: a recovery code, a picture, device links, blocking, and what is not shown to others.

ALTER TABLE accounts ADD COLUMN recovery_salt BLOB; -- with recovery_hash and wrapped_recovery; NULL: no recovery code
ALTER TABLE accounts ADD COLUMN recovery_hash BLOB;
ALTER TABLE accounts ADD COLUMN avatar BLOB;        -- SHA-256 of the picture in avatars
ALTER TABLE accounts ADD COLUMN hide_presence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN hide_read INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN hide_typing INTEGER NOT NULL DEFAULT 0;

ALTER TABLE devices ADD COLUMN last_address VARCHAR(64) NOT NULL DEFAULT '';

ALTER TABLE contacts ADD COLUMN blocked_ms BIGINT NOT NULL DEFAULT 0; -- since when account_id blocks peer_id; 0: it does not

-- A member that blocks the other one of a pair sees numbers up to visible_seq only; holders counts such members.
-- Meanwhile each is shown as far as it was then: shown_delivered and shown_read; NULL: as far as it is.
ALTER TABLE conversations ADD COLUMN holders INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN visible_seq BIGINT NOT NULL DEFAULT 4294967295;
ALTER TABLE members ADD COLUMN shown_delivered BIGINT;
ALTER TABLE members ADD COLUMN shown_read BIGINT;

CREATE TABLE avatars (
  account_id BIGINT PRIMARY KEY,
  type       VARCHAR(32) NOT NULL,
  image      BLOB NOT NULL
) WITHOUT ROWID;

-- A new device asks by a code that an older one shows.
CREATE TABLE device_links (
  code       VARCHAR(32) PRIMARY KEY,
  account_id BIGINT NOT NULL,
  ask        BLOB,                     -- sealed by the new device; NULL: it has not asked yet
  expires_ms BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX device_links_account ON device_links (account_id);
