"""Examines an installation and whatever runs of it: gathers facts, judges them, and says what to do."""
