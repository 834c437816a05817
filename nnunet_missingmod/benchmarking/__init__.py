"""Trained models on every subset of modalities: cases, predictions, scores and what is left behind."""
