"""EDGE, read-only: status page, health, metrics, and the log. It sees what it is handed and asks nobody."""
