"""Converters from public datasets' own folders to nnU-Net raw datasets."""
