"""What a ClickHouse server of yours needs: schema for a replicated cluster, roles, limits. Connects to nothing."""
