-- What a host asks for: when an entry came, in seconds since the Unix epoch, by the database's own clock and without any relay's
-- doing, so that one of an earlier version fills it in too. Entries of before have the time of this migration. A default that is
-- the same for all of them is no more than a note in the catalogue, whatever the table's size.
ALTER TABLE entries ADD COLUMN at_s BIGINT NOT NULL DEFAULT floor(extract(epoch FROM now()))::bigint;
