-- Keys of callers. What a caller shows is not here; see edge/key.rs.
CREATE TABLE keys (
  id         TEXT    PRIMARY KEY,
  name       TEXT    NOT NULL,
  -- SHA-256 of the secret.
  hash       BLOB    NOT NULL CHECK (length(hash) = 32),
  -- Words.
  scopes     TEXT    NOT NULL,
  -- Milliseconds since 1970.
  made_ms    INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER,
  -- JSON: limits of its own.
  rate       TEXT
) STRICT;
