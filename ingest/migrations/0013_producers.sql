-- A producer's own stream is no call: not its beats, and not the word that it has closed either.
CREATE OR REPLACE VIEW sources AS
SELECT tenant, day, stream AS call_id, source, count() AS stored, max(closing) AS said,
       toUInt8(ifNull(stored = said, 0)) AS complete,
       toLowCardinality(multiIf(said IS NULL, 'unknown', complete, 'complete', 'incomplete')) AS state
FROM events_log FINAL
WHERE type NOT IN ('ProducerBeat', 'CallLost') AND source != 'producer'
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
    WHERE type != 'ProducerBeat' AND source != 'producer'
    GROUP BY tenant, day, stream, source
)
GROUP BY tenant, day, call_id
SETTINGS use_skip_indexes_if_final_exact_mode = 1;
