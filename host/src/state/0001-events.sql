-- The queue of events for observers: a row for each event and observer.
CREATE TABLE events (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  -- The same each time the event is given, by which a receiver knows a repeated one.
  event         TEXT    NOT NULL,
  -- The observer, ENDPOINT/PLUGIN.
  observer      TEXT    NOT NULL,
  -- Milliseconds since 1970: when the request ended, and when the event may be given next.
  made_ms       INTEGER NOT NULL,
  due_ms        INTEGER NOT NULL,
  attempts      INTEGER NOT NULL DEFAULT 0,
  -- Why it was not taken the last time.
  reason        TEXT,
  -- When it was given up; a dead letter waits for an operator.
  dead_ms       INTEGER,
  -- What it counts for the limits of the queue.
  bytes         INTEGER NOT NULL,
  -- JSON: all of the event but the bodies.
  head          TEXT    NOT NULL,
  request_body  BLOB,
  response_body BLOB
) STRICT;

CREATE INDEX events_due ON events (observer, due_ms) WHERE dead_ms IS NULL;
CREATE INDEX events_dead ON events (dead_ms) WHERE dead_ms IS NOT NULL;

-- What the queue holds, kept by the triggers, so that no sum is taken for each request.
CREATE TABLE events_held (
  dead  INTEGER PRIMARY KEY CHECK (dead IN (0, 1)),
  count INTEGER NOT NULL,
  bytes INTEGER NOT NULL
) STRICT;
INSERT INTO events_held VALUES (0, 0, 0), (1, 0, 0);

CREATE TRIGGER events_come AFTER INSERT ON events BEGIN
  UPDATE events_held SET count = count + 1, bytes = bytes + new.bytes WHERE dead = (new.dead_ms IS NOT NULL);
END;
CREATE TRIGGER events_go AFTER DELETE ON events BEGIN
  UPDATE events_held SET count = count - 1, bytes = bytes - old.bytes WHERE dead = (old.dead_ms IS NOT NULL);
END;
CREATE TRIGGER events_turn AFTER UPDATE OF dead_ms ON events
WHEN (old.dead_ms IS NULL) != (new.dead_ms IS NULL) BEGIN
  UPDATE events_held SET count = count - 1, bytes = bytes - old.bytes WHERE dead = (old.dead_ms IS NOT NULL);
  UPDATE events_held SET count = count + 1, bytes = bytes + new.bytes WHERE dead = (new.dead_ms IS NOT NULL);
END;
