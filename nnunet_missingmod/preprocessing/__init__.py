"""nnU-Net's preprocessing for cases that lack modalities."""
