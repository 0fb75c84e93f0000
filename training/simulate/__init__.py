"""Simulated cohorts: procedural heads, tracer transport, MR signal. Nothing in here is clinical evidence."""
