-- What is over its time is looked for in one store, which others' leavings must not keep full.
CREATE INDEX kv_store_expires ON kv (store, expires) WHERE expires IS NOT NULL;
