-- +goose Up
-- An administrator lets somebody who lost everything start again under the same account, with a new identity.

ALTER TABLE accounts ADD COLUMN reset_salt BLOB;    -- with reset_hash: of the one-time code; NULL: none is open
ALTER TABLE accounts ADD COLUMN reset_hash BLOB;
ALTER TABLE accounts ADD COLUMN reset_expires_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN first_generation INTEGER NOT NULL DEFAULT 1; -- of the account key under the identity in force

-- The key ring from before a reset, for whoever still finds the recovery code of then.
CREATE TABLE former_keys (
  account_id       BIGINT NOT NULL,
  generation       INTEGER NOT NULL,   -- the newest in the ring
  key_ring         BLOB NOT NULL,
  recovery_salt    BLOB NOT NULL,
  recovery_hash    BLOB NOT NULL,
  wrapped_recovery BLOB NOT NULL,
  PRIMARY KEY (account_id, generation)
) WITHOUT ROWID;
