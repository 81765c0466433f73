-- +goose Up
-- The first event of the relay's log that was refused, to find out whether the relay has another in its place now.
ALTER TABLE conversations ADD COLUMN suspect_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN suspect_hash BLOB;
