-- Snapshots that members left for whoever comes with the recovery kit, one for each device and channel.
CREATE TABLE kit_snapshots (
    grp    INTEGER NOT NULL,
    slot   BLOB    NOT NULL,
    key    BLOB    NOT NULL,
    device BLOB    NOT NULL,
    size   INTEGER NOT NULL,
    mac    BLOB    NOT NULL,
    sealed BLOB    NOT NULL,
    PRIMARY KEY (grp, slot)
);
