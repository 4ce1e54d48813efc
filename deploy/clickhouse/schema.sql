-- The schema for a ClickHouse cluster of one shard and any number of replicas, made from ingest/migrations.
-- Written by: python -m deploy.clickhouse
-- Run it once, on one replica, after users.sql; name your cluster 'turnlog' or put its name in place of it. It notes
-- the migrations as applied, so that workers find nothing to do; of a later version run the statements that are new.
-- ClickHouse's parser reads it in our tests; no cluster has run it there yet.

CREATE TABLE IF NOT EXISTS migrations ON CLUSTER turnlog
    (name String, hash String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'))
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/migrations', '{replica}') ORDER BY (name, hash);

-- 0001_raw

-- Raw rows, one a delivery. The key holds the identity of an event, never its time, so that a redelivery meets its
-- original whatever `at` says; the larger `first` is the earlier delivery, which survives.
-- Statements end with a semicolon at the end of a line, and may be run again after a crash half way.
CREATE TABLE IF NOT EXISTS events_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/events_log', '{replica}', first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS turns_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/turns_log', '{replica}', first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS spans_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/spans_log', '{replica}', first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS glitches_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/glitches_log', '{replica}', first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS tool_calls_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/tool_calls_log', '{replica}', first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

-- 0002_derived

-- Rows that are computed and superseded: facts of a call, minutes of latency, and the broker's logs.
CREATE TABLE IF NOT EXISTS calls_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/calls_log', '{replica}', version)
PARTITION BY day
ORDER BY (tenant, day, call_id)
TTL day + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

-- A board reads an hour of this: small granules and the minute first in the key made 24 h 25 times faster than raw rows.
CREATE TABLE IF NOT EXISTS latency_1m_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/latency_1m_log', '{replica}', version)
PARTITION BY toDate(minute)
ORDER BY (minute, tenant, campaign, component, provider, model, log, partition, epoch)
TTL toDate(minute) + INTERVAL 400 DAY
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1;

-- The broker's logs in order of first sight. The order of commits is the block number, which the store gives out
-- itself: two workers that register at once cannot both claim a generation.
CREATE TABLE IF NOT EXISTS logs_log ON CLUSTER turnlog
(
    topic LowCardinality(String),
    log String,
    first_seen DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/logs_log', '{replica}')
ORDER BY (topic, log)
SETTINGS enable_block_number_column = 1;

-- 0003_quantile

-- The latency in µs at rank floor(q * (n - 1)) of log-bucket counts; NULL when nothing was counted.
-- gamma = (1 + alpha) / (1 - alpha) with alpha = 0.005, that is 201 / 199: ingest.sketch is its home, a test compares them.
CREATE OR REPLACE FUNCTION quantile_us ON CLUSTER turnlog AS (buckets, q) -> if(
    arraySum(mapValues(buckets)) = 0,
    NULL,
    2 * pow(
        201 / 199,
        mapKeys(mapSort(buckets))[
            arrayFirstIndex(
                below -> below > floor(q * (arraySum(mapValues(buckets)) - 1)),
                arrayCumSum(mapValues(mapSort(buckets)))
            )
        ]
    ) / (201 / 199 + 1)
);

-- 0004_views

-- The public names. FINAL makes them right before any merge; filters apply after it, so the first delivery decides.
-- A profile may let FINAL skip granules by an index without looking for other versions of a key: never in these.
CREATE OR REPLACE VIEW events ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream, stream AS call_id, source, seq, at, type, campaign, agent, agent_version, env, lead, variants, payload,
       payload_hash, log, partition, offset
FROM events_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW turns ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version, turn, outcome, latency_us,
       unattributed_us
FROM turns_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW spans ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version, turn, span, parent, component,
       provider, model, status, first_us, ready_us, duration_us, latency_us
FROM spans_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW glitches ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version, turn, detector, kind, gap_ms
FROM glitches_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW tool_calls ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version, turn, node, tool, next_node
FROM tool_calls_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW calls ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, call_id, campaign, agent, agent_version, env, lead, direction, started_at, ended_at, end_reason,
       disposition, turns, disappeared, interrupted, glitches, events
FROM calls_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- Whether all that a source said has arrived: `said` is absent until the source has closed.
CREATE OR REPLACE VIEW sources ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, count() AS stored, max(closing) AS said,
       toUInt8(ifNull(stored = said, 0)) AS complete
FROM events_log FINAL
GROUP BY tenant, day, stream, source
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- Buckets add up over logs, partitions and epochs; sum them further with sumMap and read them with quantile_us.
CREATE OR REPLACE VIEW latency_1m ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT minute, tenant, campaign, component, provider, model, arraySum(mapValues(buckets)) AS n, buckets,
       quantile_us(buckets, 0.5) AS p50_us, quantile_us(buckets, 0.9) AS p90_us
FROM
(
    SELECT minute, tenant, campaign, component, provider, model, sumMap(folded.buckets) AS buckets
    FROM latency_1m_log AS folded FINAL
    GROUP BY minute, tenant, campaign, component, provider, model
)
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- 0005_steps

-- Where a call went and who spoke. Views over the raw events: a question that needs no typed column reads no payload, and
-- one that does takes 0.13 s a million events. The type is compared after the collapse, as everything else is.
CREATE OR REPLACE VIEW nodes ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version,
       toUInt16(JSONExtractUInt(payload, 'turn')) AS turn,
       toLowCardinality(JSONExtractString(payload, 'node')) AS node
FROM events_log FINAL
WHERE type = 'NodeEntered'
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW speech ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version,
       toUInt16(JSONExtractUInt(payload, 'turn')) AS turn,
       toLowCardinality(JSONExtractString(payload, 'speaker')) AS speaker,
       at - toIntervalMicrosecond(duration_us) AS started_at,
       toUInt32(JSONExtractUInt(payload, 'duration_us')) AS duration_us
FROM events_log FINAL
WHERE type = 'SpeechEnded'
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- 0006_topics

-- Each topic has raw rows of its own, of one shape: what is said of a lead, what every process must know, and words.
-- A fact outside calls has no day in its stream (its id is a UUIDv5), so that a redelivery meets its original whatever
-- its clock says: its rows lie under day 0, and expire row by row, by their own time.
CREATE TABLE IF NOT EXISTS outcomes_log ON CLUSTER turnlog AS events_log
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/outcomes_log', '{replica}', first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL toDateTime(at) + INTERVAL 400 DAY;

-- Kept for good: an erasure has to be applied to whatever is read again.
CREATE TABLE IF NOT EXISTS control_log ON CLUSTER turnlog AS events_log
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/control_log', '{replica}', first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq);

CREATE TABLE IF NOT EXISTS content_log ON CLUSTER turnlog AS events_log
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/content_log', '{replica}', first)
PARTITION BY day
ORDER BY (tenant, day, stream, source, seq)
TTL day + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

-- 0007_quality

-- Two more rollups, folded as latency_1m_log is: a row is what one epoch of one partition adds to one minute.
CREATE TABLE IF NOT EXISTS latency_by_variation_1m_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/latency_by_variation_1m_log', '{replica}', version)
PARTITION BY toDate(minute)
ORDER BY (minute, tenant, campaign, experiment, variation, component, log, partition, epoch)
TTL toDate(minute) + INTERVAL 400 DAY
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1;

-- `what` is one of a closed list (ingest.measures), so that a new count needs no other table; bucket 0 holds it.
CREATE TABLE IF NOT EXISTS quality_1m_log ON CLUSTER turnlog
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/quality_1m_log', '{replica}', version)
PARTITION BY toDate(minute)
ORDER BY (minute, tenant, campaign, what, log, partition, epoch)
TTL toDate(minute) + INTERVAL 400 DAY
SETTINGS index_granularity = 128, ttl_only_drop_parts = 1;

CREATE OR REPLACE VIEW latency_by_variation_1m ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT minute, tenant, campaign, experiment, variation, component, arraySum(mapValues(buckets)) AS n, buckets,
       quantile_us(buckets, 0.5) AS p50_us, quantile_us(buckets, 0.9) AS p90_us
FROM
(
    SELECT minute, tenant, campaign, experiment, variation, component, sumMap(folded.buckets) AS buckets
    FROM latency_by_variation_1m_log AS folded FINAL
    GROUP BY minute, tenant, campaign, experiment, variation, component
)
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW quality_1m ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
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

-- 0008_outcomes

-- What became known of leads, and what calls did to people. The thresholds have their home in ingest.views, in words and
-- numbers; tests hold these statements to them. Whoever is not known as a lead has no calls that could be called again.
CREATE OR REPLACE VIEW outcomes ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, stream AS fact, at, type, campaign, agent, agent_version, env, lead,
       JSONExtractString(payload, 'call') AS call_id,
       toLowCardinality(multiIf(
           type = 'ComplaintFiled', JSONExtractString(payload, 'channel'),
           type = 'OutcomeConfirmed', JSONExtractString(payload, 'outcome'),
           type = 'SurveyAnswered', JSONExtractString(payload, 'question'),
           JSONExtractString(payload, 'purpose')
       )) AS name,
       multiIf(
           type = 'OutcomeConfirmed', JSONExtract(payload, 'value', 'Nullable(Float64)'),
           type = 'SurveyAnswered', JSONExtract(payload, 'score', 'Nullable(Float64)'),
           NULL
       ) AS value
FROM outcomes_log FINAL
WHERE type IN ('ComplaintFiled', 'ConsentGranted', 'ConsentRevoked', 'ConsentHonoured', 'OutcomeConfirmed', 'SurveyAnswered')
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- A call that comes again is counted at the one that it follows, once: a redial at the call before it, another inbound call
-- at the last of ours. anyLast passes over NULL, so what may be NULL travels in a tuple.
CREATE OR REPLACE VIEW welfare ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, call_id, campaign, agent, agent_version, env, lead, direction, started_at,
       counted.complaints AS complaints,
       counted.consents_revoked AS consents_revoked,
       toUInt8(disposition = 'opted_out') AS opted_out,
       toUInt8(end_reason = 'caller_hung_up'
               AND (turns < 2 OR ifNull(ended_at < started_at + toIntervalSecond(20), 0))) AS hung_up_early,
       if(direction = 'outbound' AND lead != '', started_at + toIntervalDay(7), NULL) AS watched_until,
       toUInt8(ifNull(watched_until <= now64(6, 'UTC'), 0)) AS watched,
       if(watched, counted.repeat_calls, NULL) AS repeat_calls,
       if(lead != '', counted.redials, NULL) AS redials
FROM calls
LEFT JOIN
(
    SELECT tenant, call_id, sum(complaint) AS complaints, sum(revoked) AS consents_revoked, sum(repeated) AS repeat_calls,
           sum(redialled) AS redials
    FROM
    (
        SELECT tenant, call_id, toUInt64(type = 'ComplaintFiled') AS complaint, toUInt64(type = 'ConsentRevoked') AS revoked,
               toUInt64(0) AS repeated, toUInt64(0) AS redialled
        FROM outcomes
        WHERE type IN ('ComplaintFiled', 'ConsentRevoked') AND call_id != ''
        UNION ALL
        SELECT tenant, if(redial, before_it.1, ours.1) AS call_id, 0, 0, toUInt64(NOT redial), toUInt64(redial)
        FROM
        (
            SELECT tenant, direction, started_at,
                   anyLast(tuple(call_id, ended_at, end_reason)) OVER earlier AS before_it,
                   anyLastIf(tuple(call_id, started_at), direction = 'outbound') OVER earlier AS ours,
                   before_it.3 = 'failed' AND ifNull(started_at <= before_it.2 + toIntervalMinute(10), 0) AS redial
            FROM calls
            WHERE lead != '' AND started_at IS NOT NULL
            WINDOW earlier AS
            (
                PARTITION BY tenant, lead ORDER BY started_at, call_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        )
        WHERE redial
           OR (direction = 'inbound' AND ours.1 != '' AND ifNull(started_at <= ours.2 + toIntervalDay(7), 0))
    )
    GROUP BY tenant, call_id
) AS counted USING (tenant, call_id)
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW welfare_by_lead ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, campaign, lead,
       sum(outbound) AS calls,
       sum(complaint) AS complaints,
       sum(revoked) AS consents_revoked,
       sum(opted) AS opted_out,
       sum(early) AS hung_up_early,
       max(until) AS watched_until,
       toUInt8(ifNull(watched_until <= now64(6, 'UTC'), 0)) AS watched,
       if(watched, sum(repeated), NULL) AS repeat_calls,
       sum(redialled) AS redials
FROM
(
    SELECT tenant, campaign, lead, toUInt64(direction = 'outbound') AS outbound, toUInt64(0) AS complaint,
           toUInt64(0) AS revoked, toUInt64(opted_out) AS opted, toUInt64(hung_up_early) AS early, watched_until AS until,
           ifNull(repeat_calls, 0) AS repeated, ifNull(redials, 0) AS redialled
    FROM welfare
    WHERE lead != ''
    UNION ALL
    SELECT tenant, campaign, lead, 0, toUInt64(type = 'ComplaintFiled'), toUInt64(type = 'ConsentRevoked'), 0, 0, NULL, 0, 0
    FROM outcomes
    WHERE lead != '' AND type IN ('ComplaintFiled', 'ConsentRevoked')
)
GROUP BY tenant, campaign, lead;

-- 0009_completeness

-- of one that never closes, as one behind the door, it is not known. Beats are no call's, and the word that a call was
-- lost is no event of that call: once one has arrived, it is lost no longer.
CREATE OR REPLACE VIEW sources ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, count() AS stored, max(closing) AS said,
       toUInt8(ifNull(stored = said, 0)) AS complete,
       toLowCardinality(multiIf(said IS NULL, 'unknown', complete, 'complete', 'incomplete')) AS state
FROM events_log FINAL
WHERE type NOT IN ('ProducerBeat', 'CallLost')
GROUP BY tenant, day, stream, source
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW call_completeness ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, call_id, argMin(its_campaign, unstarted) AS campaign,
       toLowCardinality(multiIf(
           sum(its_stored) = 0, 'lost',
           countIf(its_said != its_stored) > 0, 'incomplete',
           countIf(its_said IS NULL AND its_stored > 0) > 0, 'unknown',
           'complete'
       )) AS state,
       countIf(its_stored > 0) AS sources,
       sum(its_stored) AS stored,
       sum(ifNull(its_said, its_stored)) AS said
FROM
(
    SELECT tenant, day, stream AS call_id, source, argMin(campaign, (type != 'CallStarted', at, seq)) AS its_campaign,
           min(type != 'CallStarted') AS unstarted, countIf(type != 'CallLost') AS its_stored, max(closing) AS its_said
    FROM events_log FINAL
    WHERE type != 'ProducerBeat'
    GROUP BY tenant, day, stream, source
)
GROUP BY tenant, day, call_id
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW completeness ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, campaign, count() AS calls, countIf(state = 'complete') AS complete,
       countIf(state = 'incomplete') AS incomplete, countIf(state = 'unknown') AS unknown, countIf(state = 'lost') AS lost,
       sum(call.said) AS said, sum(call.stored) AS stored
FROM call_completeness AS call
GROUP BY tenant, day, campaign;

-- A producer with many calls says several beats at one moment: together they name what is open.
CREATE OR REPLACE VIEW producers ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, producer, campaign, env, of, min(said_at) AS first_beat_at, max(said_at) AS last_beat_at,
       argMax(moment.open_calls, said_at) AS open_calls, argMax(moment.spooled, said_at) AS spooled,
       max(moment.dropped) AS dropped
FROM
(
    SELECT tenant, day, stream AS producer, campaign, env, toLowCardinality(JSONExtractString(payload, 'of')) AS of,
           at AS said_at, sum(JSONLength(payload, 'calls')) AS open_calls,
           max(JSONExtractUInt(payload, 'spooled')) AS spooled, max(JSONExtractUInt(payload, 'dropped')) AS dropped
    FROM events_log FINAL
    WHERE type = 'ProducerBeat'
    GROUP BY tenant, day, producer, campaign, env, of, said_at
) AS moment
GROUP BY tenant, day, producer, campaign, env, of
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- 0010_consolidated

-- Rows of old days are merged over logs, partitions and epochs into one row a key, whose log is empty. Where a key has such a
-- row it counts alone: so the change is seen all at once, and a worker that folds an old epoch again doubles nothing.
CREATE OR REPLACE VIEW latency_1m ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
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

CREATE OR REPLACE VIEW latency_by_variation_1m ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
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

CREATE OR REPLACE VIEW quality_1m ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
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
CREATE TABLE IF NOT EXISTS reconciled_log ON CLUSTER turnlog
(
    task LowCardinality(String),
    at DateTime64(6, 'UTC'),
    rollup LowCardinality(String),
    day Date,
    checked UInt64,
    differing UInt64,
    relative_error Float64
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/reconciled_log', '{replica}')
ORDER BY (task, at, rollup)
TTL toDateTime(at) + INTERVAL 400 DAY;

-- What came for a key of a day that had been consolidated: its count before, and after.
CREATE TABLE IF NOT EXISTS corrections_log ON CLUSTER turnlog
(
    at DateTime64(6, 'UTC'),
    rollup LowCardinality(String),
    minute DateTime('UTC'),
    tenant LowCardinality(String),
    dimensions Array(String),
    before UInt64,
    after UInt64
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/corrections_log', '{replica}')
ORDER BY (minute, rollup, tenant, dimensions, at)
TTL toDate(minute) + INTERVAL 400 DAY;

CREATE OR REPLACE VIEW corrections ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS SELECT at, rollup AS rollup_table, minute, tenant, dimensions, before, after FROM corrections_log;

-- 0011_erased

-- The calls of leads who were erased, without the lead: words of them that come again are dropped, also where an event
-- of theirs does not say whose call it is. The erasures themselves are events of the control topic.
CREATE TABLE IF NOT EXISTS erased_calls_log ON CLUSTER turnlog
(
    tenant LowCardinality(String),
    stream String
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/erased_calls_log', '{replica}')
ORDER BY (tenant, stream);

-- 0012_content

-- Words, for whoever holds the credential for them. The one column of an event that holds them depends on its type.
CREATE OR REPLACE VIEW content ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, seq, at, type, campaign, agent, agent_version,
       toUInt16(JSONExtractUInt(payload, 'turn')) AS turn,
       toLowCardinality(multiIf(
           type = 'ArgumentsGiven', JSONExtractString(payload, 'tool'),
           type = 'DataGiven', JSONExtractString(payload, 'field'),
           type = 'ErrorQuoted', JSONExtractString(payload, 'component'),
           '')) AS name,
       multiIf(
           type = 'ArgumentsGiven', JSONExtractString(payload, 'arguments'),
           type = 'DataGiven', JSONExtractString(payload, 'value'),
           type = 'KeysPressed', JSONExtractString(payload, 'keys'),
           JSONExtractString(payload, 'text')) AS text
FROM content_log FINAL
WHERE type NOT IN ('SourceClosed', 'EventRefused')
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- 0013_producers

-- A producer's own stream is no call: not its beats, and not the word that it has closed either.
CREATE OR REPLACE VIEW sources ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, stream AS call_id, source, count() AS stored, max(closing) AS said,
       toUInt8(ifNull(stored = said, 0)) AS complete,
       toLowCardinality(multiIf(said IS NULL, 'unknown', complete, 'complete', 'incomplete')) AS state
FROM events_log FINAL
WHERE type NOT IN ('ProducerBeat', 'CallLost') AND source != 'producer'
GROUP BY tenant, day, stream, source
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW call_completeness ON CLUSTER turnlog DEFINER = turnlog_owner SQL SECURITY DEFINER AS
SELECT tenant, day, call_id, argMin(its_campaign, unstarted) AS campaign,
       toLowCardinality(multiIf(
           sum(its_stored) = 0, 'lost',
           countIf(its_said != its_stored) > 0, 'incomplete',
           countIf(its_said IS NULL AND its_stored > 0) > 0, 'unknown',
           'complete'
       )) AS state,
       countIf(its_stored > 0) AS sources,
       sum(its_stored) AS stored,
       sum(ifNull(its_said, its_stored)) AS said
FROM
(
    SELECT tenant, day, stream AS call_id, source, argMin(campaign, (type != 'CallStarted', at, seq)) AS its_campaign,
           min(type != 'CallStarted') AS unstarted, countIf(type != 'CallLost') AS its_stored, max(closing) AS its_said
    FROM events_log FINAL
    WHERE type != 'ProducerBeat' AND source != 'producer'
    GROUP BY tenant, day, stream, source
)
GROUP BY tenant, day, call_id
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

INSERT INTO migrations (name, hash) VALUES
    ('0001_raw', '3d02beed10d260613e82e51613dc3f74d67b637f8cdcde08ea2865e91af76ebe'),
    ('0002_derived', 'faaa1a1c5be4b5fe07443a04ef07aeb73795b8fbda84267979555178a2639c62'),
    ('0003_quantile', '76ac42b932357db5634a7ae9fa4935b6bf7420ef25d95eec8634da5e7b079365'),
    ('0004_views', '0b52f72d0f995992ad3a77da84ee0f4af49c5093b32ae4c91512c78d31551fa9'),
    ('0005_steps', 'c4b427e50b0b21b268179b18134072d158ed2823dd0b8381be1750cbef4fc534'),
    ('0006_topics', 'fbe0f1bdaf42ebee018734ac0e3f89d2a5993abc6761adb2cdd5d74ea1e822a1'),
    ('0007_quality', 'aa02dd1620a0255535eda8d77feb8753fda2515c43d21f68a4cb69f0792f59f0'),
    ('0008_outcomes', '06e589b5a87b00db35f188015c4d547685ac85a608691b3de5533584e51e0ca7'),
    ('0009_completeness', '9206929b0c776672f2ed213b8692f8470c7fcc939422b6598e731a7de9ddb68c'),
    ('0010_consolidated', '517e3e493b16a80b30315b029e1df3f0e8044347df1638f7234cfbc6daa115cc'),
    ('0011_erased', '59251e557cf36c11e0423e42918f4b75908e1d378de4959af8a99c977c4e835c'),
    ('0012_content', 'a38b12e22eb14bacf3fa57b01170cd611e80511e6aca73850981ed9439ffdf8b'),
    ('0013_producers', '709fc20d00bb1c8c311255d466421259ec663212661d52d26d4a6abdf8e7cb89');
