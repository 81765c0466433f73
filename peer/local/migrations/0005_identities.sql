-- +goose Up
-- A device speaks for the identity whose list named it: after an account was reset its former devices' messages stay
-- verifiable, and nobody takes one of them for a device of the new identity.
ALTER TABLE device_keys ADD COLUMN identity_key BLOB;
UPDATE device_keys SET identity_key = (SELECT identity_key FROM people WHERE people.account = device_keys.account);

-- Other identities of people than those pinned first: the newest list of each, and whether this account took it.
CREATE TABLE renewals (
  account      BLOB NOT NULL,
  identity_key BLOB NOT NULL,
  list_body    BLOB NOT NULL,
  list_sig     BLOB NOT NULL,
  accepted     INTEGER NOT NULL,
  PRIMARY KEY (account, identity_key)
) WITHOUT ROWID;
