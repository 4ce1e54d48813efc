-- What became known of leads, and what calls did to people. The thresholds have their home in ingest.views, in words and
-- numbers; tests hold these statements to them. Whoever is not known as a lead has no calls that could be called again.
CREATE OR REPLACE VIEW outcomes AS
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
CREATE OR REPLACE VIEW welfare AS
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

CREATE OR REPLACE VIEW welfare_by_lead AS
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
