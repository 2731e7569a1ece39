-- Where a member is woken while it is not attached, as it said it (sync_types::WakeTarget); NULL if nowhere.
ALTER TABLE members ADD COLUMN wake BLOB;
