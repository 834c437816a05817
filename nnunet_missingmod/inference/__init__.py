"""Prediction of cases with absent modalities."""
