-- Facts are only ever appended. Each row's hash covers the row before it, so that nothing can be taken out unseen.
CREATE TABLE entry (
    position INTEGER PRIMARY KEY,
    stream   TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    at_ms    INTEGER NOT NULL,
    body     BLOB    NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX entry_by_stream ON entry (stream, position);

-- Newest values, written in the same transaction as the facts they follow from.
CREATE TABLE value (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- How far the hash chain was checked by an earlier start.
CREATE TABLE checked (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    position INTEGER NOT NULL,
    hash     BLOB    NOT NULL
) STRICT;
