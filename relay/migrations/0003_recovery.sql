-- Recovery keys, present and former: until_cursor is that of the commit that put another in its place.
CREATE TABLE kits (
    grp          INTEGER NOT NULL,
    key          BLOB    NOT NULL,
    from_cursor  INTEGER NOT NULL,
    until_cursor INTEGER,
    PRIMARY KEY (grp, key)
) WITHOUT ROWID;

-- Whoever comes with a recovery kit names its key, and no group.
CREATE INDEX kits_by_key ON kits (key);

-- What members said of the group's state under the kit's MAC key.
CREATE TABLE vouches (
    grp    INTEGER NOT NULL,
    device BLOB    NOT NULL,
    epoch  INTEGER NOT NULL,
    mac    BLOB    NOT NULL,
    PRIMARY KEY (grp, device)
) WITHOUT ROWID;
