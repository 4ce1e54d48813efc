-- Who may do what on a ClickHouse server, as the embedded store has it (docs/store.md).
-- Written by: python -m deploy.clickhouse
-- Run it before schema.sql, as a user who may make users. Then make users of your own and give them a role each:
--     CREATE USER ann ON CLUSTER turnlog IDENTIFIED WITH sha256_password BY '…' DEFAULT ROLE turnlog_reader
-- Who is to see the rows of one tenant alone gets the role that `python -m deploy.clickhouse --tenant NAME` prints.
-- A server says no event when words are read: its own query log tells. Give turnlog_content to whom you watch there.
-- Our tests hold the engine to these grants and row policies; no server has run the file there yet.

CREATE USER IF NOT EXISTS turnlog_owner ON CLUSTER turnlog IDENTIFIED WITH no_authentication HOST NONE;

GRANT ON CLUSTER turnlog SELECT ON default.* TO turnlog_owner;

CREATE SETTINGS PROFILE IF NOT EXISTS turnlog_reader ON CLUSTER turnlog SETTINGS
    readonly = 2 CONST,
    max_execution_time = 600 MIN 1 MAX 600,
    max_memory_usage = 2147483648 MIN 1 MAX 2147483648,
    max_query_size = 262144 MIN 1 MAX 262144,
    max_result_bytes = 536870912 MIN 1 MAX 536870912,
    max_result_rows = 50000000 MIN 1 MAX 50000000,
    max_temporary_data_on_disk_size_for_query = 1073741824 MIN 1 MAX 1073741824,
    max_threads = 2 MIN 1 MAX 2;

CREATE SETTINGS PROFILE IF NOT EXISTS turnlog_writer ON CLUSTER turnlog SETTINGS
    async_insert = 0, insert_quorum = 'auto', insert_quorum_parallel = 0, select_sequential_consistency = 1;

CREATE ROLE IF NOT EXISTS turnlog_reader ON CLUSTER turnlog;

CREATE ROLE IF NOT EXISTS turnlog_content ON CLUSTER turnlog;

CREATE ROLE IF NOT EXISTS turnlog_writer ON CLUSTER turnlog SETTINGS PROFILE 'turnlog_writer';

ALTER ROLE turnlog_reader ON CLUSTER turnlog SETTINGS PROFILE 'turnlog_reader';

GRANT ON CLUSTER turnlog SELECT ON default.events TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.calls TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.turns TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.spans TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.glitches TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.tool_calls TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.nodes TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.speech TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.sources TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.latency_1m TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.latency_by_variation_1m TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.quality_1m TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.outcomes TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.welfare TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.welfare_by_lead TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.call_completeness TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.completeness TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.producers TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON default.corrections TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON system.columns TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON system.databases TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON system.numbers TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON system.one TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON system.settings TO turnlog_reader;

GRANT ON CLUSTER turnlog SELECT ON system.tables TO turnlog_reader;

GRANT ON CLUSTER turnlog turnlog_reader TO turnlog_content;

GRANT ON CLUSTER turnlog SELECT ON default.content TO turnlog_content;

CREATE ROW POLICY IF NOT EXISTS turnlog_every_tenant ON CLUSTER turnlog ON default.events, default.calls, default.turns, default.spans, default.glitches, default.tool_calls, default.nodes, default.speech, default.sources, default.latency_1m, default.latency_by_variation_1m, default.quality_1m, default.outcomes, default.welfare, default.welfare_by_lead, default.call_completeness, default.completeness, default.producers, default.corrections, default.content USING 1 AS PERMISSIVE TO ALL;

GRANT ON CLUSTER turnlog SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE ON default.* TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE ON turnlog_rebuild.* TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.columns TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.databases TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.disks TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.merge_tree_settings TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.numbers TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.one TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.parts TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.settings TO turnlog_writer;

GRANT ON CLUSTER turnlog SELECT ON system.tables TO turnlog_writer;

GRANT ON CLUSTER turnlog CREATE FUNCTION, DROP FUNCTION ON *.* TO turnlog_writer;

GRANT ON CLUSTER turnlog SET DEFINER ON turnlog_owner TO turnlog_writer;

CREATE QUOTA IF NOT EXISTS turnlog_reader ON CLUSTER turnlog KEYED BY user_name
    FOR INTERVAL 1 hour MAX queries = 10000, execution_time = 7200 TO turnlog_reader;

