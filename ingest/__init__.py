"""Turns the log into tables and metrics; runs no call and decides nothing."""
