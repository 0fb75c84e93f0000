"""The founding paper's figures 4, 5, 6 and A1 and its table 2, for a run of one's own."""
