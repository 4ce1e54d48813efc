"""Calls at a terminal: the list of them, and one drawn in characters."""
