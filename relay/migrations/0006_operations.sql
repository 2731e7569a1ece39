-- What a host asks for. When an entry came, in seconds since the Unix epoch by SQLite's own clock; 0 for those of before.
ALTER TABLE entries ADD COLUMN at_s INTEGER NOT NULL DEFAULT 0;

-- The SHA-256 of the access token that a group was made with, where the relay wants one.
CREATE TABLE group_tokens (
    grp   INTEGER PRIMARY KEY,
    token BLOB    NOT NULL
);
CREATE INDEX group_tokens_token ON group_tokens (token);

-- Members by their last sign of life, so that counting those that are silent looks at no others.
CREATE INDEX members_seen ON members (seen_ms) WHERE removed_cursor IS NULL;
