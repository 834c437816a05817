"""What happens between a batch and an optimiser step."""
