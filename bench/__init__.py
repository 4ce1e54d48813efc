"""Measurements: one command per published number, always beside a yardstick of the same run."""
