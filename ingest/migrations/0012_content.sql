-- Words, for whoever holds the credential for them. The one column of an event that holds them depends on its type.
CREATE OR REPLACE VIEW content AS
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
