"""Scores, tables and figures: folders and CSV in, files out; never imports nnunetv2."""
