"""Says when to wake somebody, and what to do then; measures nothing itself."""
