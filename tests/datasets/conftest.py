from __future__ import annotations

from datasets.brats_source import make_source

__all__ = ["make_source"]
