-- Stores of keys and values, for plugins.
CREATE TABLE kv (
    store TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    -- Milliseconds since 1970; null where it is kept.
    expires INTEGER,
    UNIQUE (store, key)
);
CREATE INDEX kv_expires ON kv (expires) WHERE expires IS NOT NULL;
-- What each store takes: keys, values, and 64 bytes for each; kept by the triggers below.
CREATE TABLE kv_store (store TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER kv_in AFTER INSERT ON kv BEGIN
    INSERT INTO kv_store VALUES (NEW.store, octet_length(NEW.key) + octet_length(NEW.value) + 64)
        ON CONFLICT (store) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER kv_out AFTER DELETE ON kv BEGIN
    UPDATE kv_store SET bytes = bytes - (octet_length(OLD.key) + octet_length(OLD.value) + 64) WHERE store = OLD.store;
END;
CREATE TRIGGER kv_change AFTER UPDATE ON kv BEGIN
    UPDATE kv_store SET bytes = bytes + octet_length(NEW.value) - octet_length(OLD.value) WHERE store = NEW.store;
END;
