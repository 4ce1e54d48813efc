"""Looks behind the stream, at leisure: recounts what was folded, names lost calls, merges rows of old days."""
