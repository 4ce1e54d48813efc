-- Rows of old days are merged over logs, partitions and epochs into one row a key, whose log is empty. Where a key has such a
-- row it counts alone: so the change is seen all at once, and a worker that folds an old epoch again doubles nothing.
CREATE OR REPLACE VIEW latency_1m AS
SELECT minute, tenant, campaign, component, provider, model, arraySum(mapValues(buckets)) AS n, buckets,
       quantile_us(buckets, 0.5) AS p50_us, quantile_us(buckets, 0.9) AS p90_us
FROM
(
    SELECT minute, tenant, campaign, component, provider, model,
           if(countIf(log = '') > 0, sumMapIf(folded.buckets, log = ''), sumMap(folded.buckets)) AS buckets
    FROM latency_1m_log AS folded FINAL
    GROUP BY minute, tenant, campaign, component, provider, model
)
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW latency_by_variation_1m AS
SELECT minute, tenant, campaign, experiment, variation, component, arraySum(mapValues(buckets)) AS n, buckets,
       quantile_us(buckets, 0.5) AS p50_us, quantile_us(buckets, 0.9) AS p90_us
FROM
(
    SELECT minute, tenant, campaign, experiment, variation, component,
           if(countIf(log = '') > 0, sumMapIf(folded.buckets, log = ''), sumMap(folded.buckets)) AS buckets
    FROM latency_by_variation_1m_log AS folded FINAL
    GROUP BY minute, tenant, campaign, experiment, variation, component
)
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW quality_1m AS
SELECT minute, tenant, campaign,
       sumIf(counted, what = 'calls_started') AS calls_started,
       sumIf(counted, what = 'calls_ended') AS calls_ended,
       sumIf(counted, what = 'calls_lost') AS calls_lost,
       sumIf(counted, what = 'turns') AS turns,
       sumIf(counted, what = 'disappeared') AS disappeared,
       sumIf(counted, what = 'interrupted') AS interrupted,
       sumIf(counted, what = 'underruns_playout') AS underruns_playout,
       sumIf(counted, what = 'underruns_audio') AS underruns_audio,
       sumIf(counted, what = 'dead_air') AS dead_air,
       sumIf(counted, what = 'loops') AS loops
FROM
(
    SELECT minute, tenant, campaign, what,
           if(countIf(log = '') > 0, sumIf(folded.buckets[0], log = ''), sum(folded.buckets[0])) AS counted
    FROM quality_1m_log AS folded FINAL
    GROUP BY minute, tenant, campaign, what
)
GROUP BY minute, tenant, campaign
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- What the reconciler has done: the last run of a task, whoever did it, is what all workers show.
CREATE TABLE IF NOT EXISTS reconciled_log
(
    task LowCardinality(String),
    at DateTime64(6, 'UTC'),
    rollup LowCardinality(String),
    day Date,
    checked UInt64,
    differing UInt64,
    relative_error Float64
)
ENGINE = MergeTree
ORDER BY (task, at, rollup)
TTL toDateTime(at) + INTERVAL 400 DAY;

-- What came for a key of a day that had been consolidated: its count before, and after.
CREATE TABLE IF NOT EXISTS corrections_log
(
    at DateTime64(6, 'UTC'),
    rollup LowCardinality(String),
    minute DateTime('UTC'),
    tenant LowCardinality(String),
    dimensions Array(String),
    before UInt64,
    after UInt64
)
ENGINE = MergeTree
ORDER BY (minute, rollup, tenant, dimensions, at)
TTL toDate(minute) + INTERVAL 400 DAY;

CREATE OR REPLACE VIEW corrections AS SELECT at, rollup AS rollup_table, minute, tenant, dimensions, before, after FROM corrections_log;
