"""The folds of a tiny dataset, as nnU-Net's splits_final.json has them."""

from __future__ import annotations

import json


def split(tiny, *validation):
    """Write one fold for each list of validation cases; all others are trained on."""
    splits = [{"train": [case for case in tiny.cases if case not in val], "val": list(val)} for val in validation]
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps(splits))
