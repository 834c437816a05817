"""The phantom dataset and the demonstration run."""
