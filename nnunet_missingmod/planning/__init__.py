"""Fingerprint and plans: what nnU-Net knows of a dataset before it preprocesses and trains."""
