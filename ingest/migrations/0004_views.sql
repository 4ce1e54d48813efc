-- The public names. FINAL makes them right before any merge; filters apply after it, so the first delivery decides.
-- A profile may let FINAL skip granules by an index without looking for other versions of a key: never in these.
CREATE OR REPLACE VIEW events AS
SELECT tenant, day, stream, stream AS call_id, source, seq, at, type, campaign, agent, agent_version, env, lead, variants, payload,
       payload_hash, log, partition, offset
FROM events_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW turns AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version, turn, outcome, latency_us,
       unattributed_us
FROM turns_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW spans AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version, turn, span, parent, component,
       provider, model, status, first_us, ready_us, duration_us, latency_us
FROM spans_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW glitches AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version, turn, detector, kind, gap_ms
FROM glitches_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW tool_calls AS
SELECT tenant, day, stream AS call_id, source, seq, at, campaign, agent, agent_version, turn, node, tool, next_node
FROM tool_calls_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW calls AS
SELECT tenant, day, call_id, campaign, agent, agent_version, env, lead, direction, started_at, ended_at, end_reason,
       disposition, turns, disappeared, interrupted, glitches, events
FROM calls_log FINAL
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- Whether all that a source said has arrived: `said` is absent until the source has closed.
CREATE OR REPLACE VIEW sources AS
SELECT tenant, day, stream AS call_id, source, count() AS stored, max(closing) AS said,
       toUInt8(ifNull(stored = said, 0)) AS complete
FROM events_log FINAL
GROUP BY tenant, day, stream, source
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

-- Buckets add up over logs, partitions and epochs; sum them further with sumMap and read them with quantile_us.
CREATE OR REPLACE VIEW latency_1m AS
SELECT minute, tenant, campaign, component, provider, model, arraySum(mapValues(buckets)) AS n, buckets,
       quantile_us(buckets, 0.5) AS p50_us, quantile_us(buckets, 0.9) AS p90_us
FROM
(
    SELECT minute, tenant, campaign, component, provider, model, sumMap(folded.buckets) AS buckets
    FROM latency_1m_log AS folded FINAL
    GROUP BY minute, tenant, campaign, component, provider, model
)
SETTINGS use_skip_indexes_if_final_exact_mode = 1;
