-- Each topic has raw rows of its own, of one shape: what is said of a lead, what every process must know, and words.
-- A fact outside calls has no day in its stream (its id is a UUIDv5), so that a redelivery meets its original whatever
-- its clock says: its rows lie under day 0, and expire row by row, by their own time.
CREATE TABLE IF NOT EXISTS outcomes_log AS events_log
ENGINE = ReplacingMergeTree(first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL toDateTime(at) + INTERVAL 400 DAY;

-- Kept for good: an erasure has to be applied to whatever is read again.
CREATE TABLE IF NOT EXISTS control_log AS events_log
ENGINE = ReplacingMergeTree(first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq);

CREATE TABLE IF NOT EXISTS content_log AS events_log
ENGINE = ReplacingMergeTree(first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;
