"""Draws the boards as code; computes no figure of its own."""
