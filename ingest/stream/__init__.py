"""From the log to the tables: two adapters around one core, and the worker that runs one of them."""
