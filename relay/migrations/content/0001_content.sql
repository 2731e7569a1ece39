-- Large content of the groups, which lies beside this database under its hash. No two groups have the same: each is sealed
-- under a key of its own, so a hash that another group has given names what is not this group's.
CREATE TABLE content (
    group_id BLOB NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    -- 1 once all of it is on the disk.
    whole INTEGER NOT NULL,
    -- When all of it had come, before that when it began to come, in the milliseconds that the relay had run.
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (group_id, hash)
) WITHOUT ROWID;
CREATE INDEX content_at ON content (at_ms);

-- Who has it, and need not find it here any more. Kept for a while beyond the content itself, so that what everybody has is
-- not taken once more from whoever asks whether it was.
CREATE TABLE had (
    group_id BLOB NOT NULL,
    hash BLOB NOT NULL,
    device BLOB NOT NULL,
    -- Since when, in the milliseconds that the relay had run.
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (group_id, hash, device)
) WITHOUT ROWID;
CREATE INDEX had_at ON had (at_ms);
