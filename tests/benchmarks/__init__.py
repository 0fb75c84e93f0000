"""Measurements beside a peer, in one run: ``make bench``. Nothing here is asserted; machines differ."""
