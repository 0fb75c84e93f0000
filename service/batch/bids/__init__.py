"""The results of a batch as a BIDS derivatives dataset: labels, a case's files, and what describes the whole."""
