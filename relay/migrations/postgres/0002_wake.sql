-- Where a member is woken while it is not attached, as it said it (sync_types::WakeTarget); NULL if nowhere. A column without
-- a value of its own is no more than a note in the catalogue, whatever the table's size.
ALTER TABLE members ADD COLUMN wake BYTEA;
