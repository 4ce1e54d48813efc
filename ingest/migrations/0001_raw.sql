-- Raw rows, one a delivery. The key holds the identity of an event, never its time, so that a redelivery meets its
-- original whatever `at` says; the larger `first` is the earlier delivery, which survives.
-- Statements end with a semicolon at the end of a line, and may be run again after a crash half way.
CREATE TABLE IF NOT EXISTS events_log
(
    tenant LowCardinality(String),
    day Date,
    stream String,
    source LowCardinality(String),
    seq UInt32,
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    type LowCardinality(String),
    campaign LowCardinality(String),
    agent LowCardinality(String),
    agent_version LowCardinality(String),
    env LowCardinality(String),
    lead String,
    variants Map(LowCardinality(String), LowCardinality(String)),
    payload String CODEC(ZSTD(3)),
    -- Computed here, so that two deliveries with other bytes cannot agree by a writer's mistake.
    payload_hash UInt64 MATERIALIZED sipHash64(payload),
    -- How many events a SourceClosed says there are: a column, so that the sources view reads no payloads.
    closing Nullable(UInt64) MATERIALIZED if(type = 'SourceClosed', JSONExtractUInt(payload, 'last_seq') + 1, NULL),
    log LowCardinality(String),
    partition UInt16,
    offset UInt64 CODEC(Delta, ZSTD(1)),
    first UInt64 CODEC(Delta, ZSTD(1)),
    arrived DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX at_range at TYPE minmax GRANULARITY 1,
    INDEX offset_range offset TYPE minmax GRANULARITY 1,
    INDEX stream_bloom stream TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS turns_log
(
    tenant LowCardinality(String),
    day Date,
    stream String,
    source LowCardinality(String),
    seq UInt32,
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    campaign LowCardinality(String),
    agent LowCardinality(String),
    agent_version LowCardinality(String),
    log LowCardinality(String),
    partition UInt16,
    offset UInt64 CODEC(Delta, ZSTD(1)),
    first UInt64 CODEC(Delta, ZSTD(1)),
    arrived DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    turn UInt16,
    outcome LowCardinality(String),
    latency_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    unattributed_us Nullable(Int64) CODEC(T64, ZSTD(1)),
    INDEX at_range at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS spans_log
(
    tenant LowCardinality(String),
    day Date,
    stream String,
    source LowCardinality(String),
    seq UInt32,
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    campaign LowCardinality(String),
    agent LowCardinality(String),
    agent_version LowCardinality(String),
    log LowCardinality(String),
    partition UInt16,
    offset UInt64 CODEC(Delta, ZSTD(1)),
    first UInt64 CODEC(Delta, ZSTD(1)),
    arrived DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    turn UInt16,
    span UInt32 CODEC(T64, ZSTD(1)),
    parent UInt32 CODEC(T64, ZSTD(1)),
    component LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    status LowCardinality(String),
    first_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    ready_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    duration_us UInt32 CODEC(T64, ZSTD(1)),
    latency_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    INDEX at_range at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS glitches_log
(
    tenant LowCardinality(String),
    day Date,
    stream String,
    source LowCardinality(String),
    seq UInt32,
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    campaign LowCardinality(String),
    agent LowCardinality(String),
    agent_version LowCardinality(String),
    log LowCardinality(String),
    partition UInt16,
    offset UInt64 CODEC(Delta, ZSTD(1)),
    first UInt64 CODEC(Delta, ZSTD(1)),
    arrived DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    turn UInt16,
    detector LowCardinality(String),
    kind LowCardinality(String),
    gap_ms Float64,
    INDEX at_range at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS tool_calls_log
(
    tenant LowCardinality(String),
    day Date,
    stream String,
    source LowCardinality(String),
    seq UInt32,
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    campaign LowCardinality(String),
    agent LowCardinality(String),
    agent_version LowCardinality(String),
    log LowCardinality(String),
    partition UInt16,
    offset UInt64 CODEC(Delta, ZSTD(1)),
    first UInt64 CODEC(Delta, ZSTD(1)),
    arrived DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    turn UInt16,
    node LowCardinality(String),
    tool LowCardinality(String),
    next_node LowCardinality(String),
    INDEX at_range at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;
