"""The ClickHouse side: migrations, writing, and the embedded store behind ClickHouse's own HTTP interface."""
