-- A disk that turns a bit must not change what a lane's books say: each value carries a seal over key and value.
ALTER TABLE value ADD COLUMN seal BLOB NOT NULL DEFAULT x'';
UPDATE value SET seal = seal_of(key, value);

-- Transactions that put values and append no entry: the hash chain does not count them.
CREATE TABLE tally (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    puts INTEGER NOT NULL
) STRICT;
INSERT INTO tally VALUES (1, 0);
