-- A hash is a group's own: whoever gives a hash that they have only heard of keeps nobody else from giving what it names.
CREATE TABLE content_of_groups (
    group_id BLOB NOT NULL,
    hash BLOB NOT NULL,
    size INTEGER NOT NULL,
    -- 1 once all of it is on the disk.
    whole INTEGER NOT NULL,
    -- 1 if what the folder has of it came from this group alone. If not, the group has to give all of it, whatever is there.
    own INTEGER NOT NULL,
    -- When all of it had come, before that when it began to come, in the milliseconds that the relay had run.
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (group_id, hash)
) WITHOUT ROWID;
INSERT INTO content_of_groups SELECT group_id, hash, size, whole, 1, at_ms FROM content;
DROP TABLE content;
ALTER TABLE content_of_groups RENAME TO content;
CREATE INDEX content_at ON content (at_ms);
CREATE INDEX content_hash ON content (hash);
