-- The calls of leads who were erased, without the lead: words of them that come again are dropped, also where an event
-- of theirs does not say whose call it is. The erasures themselves are events of the control topic.
CREATE TABLE IF NOT EXISTS erased_calls_log
(
    tenant LowCardinality(String),
    stream String
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, stream);
