"""`turnlog demo`: simulated calls through the whole path, and what the tables then say of them."""
