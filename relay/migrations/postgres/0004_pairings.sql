-- At which relay each pairing's slot is, so that a device may come to any: the name is a hash of a link's secret or a short code's
-- number.
CREATE TABLE pairings (
    name  BYTEA       PRIMARY KEY,
    node  BIGINT      NOT NULL,
    until TIMESTAMPTZ NOT NULL
);

-- What relays hand each other for pairings that begin at two of them. Whoever it is for deletes it as it takes it.
CREATE TABLE letters (
    recipient BIGINT NOT NULL,
    number    BIGINT GENERATED ALWAYS AS IDENTITY,
    sender    BIGINT NOT NULL,
    body      BYTEA  NOT NULL,
    PRIMARY KEY (recipient, number)
);
ALTER TABLE letters ALTER COLUMN body SET STORAGE EXTERNAL;
