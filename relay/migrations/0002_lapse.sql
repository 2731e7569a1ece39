-- Both in the relay's own time (`clock`), which stands still while no relay runs. seen_ms: the last sign of life, 0 before the
-- first. missed: what is no more held although this member had not acknowledged it lies up to this cursor.
ALTER TABLE members ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;

-- One row: for how long a relay has run on this database.
CREATE TABLE clock (
    one       INTEGER PRIMARY KEY CHECK (one = 0),
    served_ms INTEGER NOT NULL
);
