"""A blinded reader study after the founding paper: packs for readers, the key, and the figures of agreement."""
