-- Whether all that was said has arrived: by source, by call and by campaign. Only a writer that has closed can be complete;
-- of one that never closes, as one behind the door, it is not known. Beats are no call's, and the word that a call was
-- lost is no event of that call: once one has arrived, it is lost no longer.
CREATE OR REPLACE VIEW sources AS
SELECT tenant, day, stream AS call_id, source, count() AS stored, max(closing) AS said,
       toUInt8(ifNull(stored = said, 0)) AS complete,
       toLowCardinality(multiIf(said IS NULL, 'unknown', complete, 'complete', 'incomplete')) AS state
FROM events_log FINAL
WHERE type NOT IN ('ProducerBeat', 'CallLost')
GROUP BY tenant, day, stream, source
SETTINGS use_skip_indexes_if_final_exact_mode = 1;

CREATE OR REPLACE VIEW call_completeness AS
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

CREATE OR REPLACE VIEW completeness AS
SELECT tenant, day, campaign, count() AS calls, countIf(state = 'complete') AS complete,
       countIf(state = 'incomplete') AS incomplete, countIf(state = 'unknown') AS unknown, countIf(state = 'lost') AS lost,
       sum(call.said) AS said, sum(call.stored) AS stored
FROM call_completeness AS call
GROUP BY tenant, day, campaign;

-- A producer with many calls says several beats at one moment: together they name what is open.
CREATE OR REPLACE VIEW producers AS
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
