"""EDGE: status page with log-in and buttons, health, metrics, and the log. It sees and does only what it is handed."""
