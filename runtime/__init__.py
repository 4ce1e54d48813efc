"""Runs a call and says what happened; stores nothing."""
