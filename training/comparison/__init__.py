"""Models beside what they must beat, on the same test patients: one table, and whether a model may be released."""
