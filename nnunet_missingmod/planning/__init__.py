"""Dataset fingerprint and plans, which nnU-Net makes before it preprocesses and trains."""
