"""Decides with numbers; runs no call."""
