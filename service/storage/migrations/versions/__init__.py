"""One module per schema step, applied in order."""
