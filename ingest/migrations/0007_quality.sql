-- Two more rollups, folded as latency_1m_log is: a row is what one epoch of one partition adds to one minute.
CREATE TABLE IF NOT EXISTS latency_by_variation_1m_log
(
    minute DateTime('UTC'),
    tenant LowCardinality(String),
    campaign LowCardinality(String),
    experiment LowCardinality(String),
    variation LowCardinality(String),
    component LowCardinality(String),
    log LowCardinality(String),
    partition UInt16,
    epoch UInt64,
    version UInt64,
    buckets Map(Int16, UInt32)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(minute)
ORDER BY (minute, tenant, campaign, experiment, variation, component, log, partition, epoch)
TTL toDate(minute) + INTERVAL 400 DAY
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1;

-- `what` is one of a closed list (ingest.measures), so that a new count needs no other table; bucket 0 holds it.
CREATE TABLE IF NOT EXISTS quality_1m_log
(
    minute DateTime('UTC'),
    tenant LowCardinality(String),
    campaign LowCardinality(String),
    what LowCardinality(String),
    log LowCardinality(String),
    partition UInt16,
    epoch UInt64,
    version UInt64,
    buckets Map(Int16, UInt32)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(minute)
ORDER BY (minute, tenant, campaign, what, log, partition, epoch)
TTL toDate(minute) + INTERVAL 400 DAY
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1;

CREATE OR REPLACE VIEW latency_by_variation_1m AS
SELECT minute, tenant, campaign, experiment, variation, component, arraySum(mapValues(buckets)) AS n, buckets,
       quantile_us(buckets, 0.5) AS p50_us, quantile_us(buckets, 0.9) AS p90_us
FROM
(
    SELECT minute, tenant, campaign, experiment, variation, component, sumMap(folded.buckets) AS buckets
    FROM latency_by_variation_1m_log AS folded FINAL
    GROUP BY minute, tenant, campaign, experiment, variation, component
)
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW quality_1m AS
SELECT minute, tenant, campaign,
       sumIf(buckets[0], what = 'calls_started') AS calls_started,
       sumIf(buckets[0], what = 'calls_ended') AS calls_ended,
       sumIf(buckets[0], what = 'calls_lost') AS calls_lost,
       sumIf(buckets[0], what = 'turns') AS turns,
       sumIf(buckets[0], what = 'disappeared') AS disappeared,
       sumIf(buckets[0], what = 'interrupted') AS interrupted,
       sumIf(buckets[0], what = 'underruns_playout') AS underruns_playout,
       sumIf(buckets[0], what = 'underruns_audio') AS underruns_audio,
       sumIf(buckets[0], what = 'dead_air') AS dead_air,
       sumIf(buckets[0], what = 'loops') AS loops
FROM quality_1m_log FINAL
GROUP BY minute, tenant, campaign
SETTINGS use_skip_indexes_if_final_exact_mode = 1;
