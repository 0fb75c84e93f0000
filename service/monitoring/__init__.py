"""EDGE, read-mostly: status page, metrics, health, audit."""
