-- Rows that are computed and superseded: facts of a call, minutes of latency, and the broker's logs.
CREATE TABLE IF NOT EXISTS calls_log
(
    tenant LowCardinality(String),
    day Date,
    call_id String,
    campaign LowCardinality(String),
    agent LowCardinality(String),
    agent_version LowCardinality(String),
    env LowCardinality(String),
    lead String,
    direction LowCardinality(String),
    started_at Nullable(DateTime64(6, 'UTC')),
    ended_at Nullable(DateTime64(6, 'UTC')),
    end_reason LowCardinality(String),
    disposition LowCardinality(String),
    turns UInt64,
    disappeared UInt64,
    interrupted UInt64,
    glitches UInt64,
    events UInt64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY day
ORDER BY (tenant, day, call_id)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

-- A board reads an hour of this: small granules and the minute first in the key made 24 h 25 times faster than raw rows.
CREATE TABLE IF NOT EXISTS latency_1m_log
(
    minute DateTime('UTC'),
    tenant LowCardinality(String),
    campaign LowCardinality(String),
    component LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    log LowCardinality(String),
    partition UInt16,
    epoch UInt64,
    version UInt64,
    buckets Map(Int16, UInt32)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(minute)
ORDER BY (minute, tenant, campaign, component, provider, model, log, partition, epoch)
TTL toDate(minute) + INTERVAL 400 DAY
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1;

-- The broker's logs in order of first sight. The order of commits is the block number, which the store gives out
-- itself: two workers that register at once cannot both claim a generation.
CREATE TABLE IF NOT EXISTS logs_log
(
    topic LowCardinality(String),
    log String,
    first_seen DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (topic, log)
SETTINGS enable_block_number_column = 1;
