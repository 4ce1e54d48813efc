"""Draws what was measured: single calls today, boards as code later. Measures nothing itself."""
