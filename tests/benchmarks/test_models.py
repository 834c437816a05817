"""What the benchmarks build: under torch's own limit of compilations, unless networks are used side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
models = pytest.importorskip("models")


def test_torchs_limit_of_compilations_is_a_trainings_own_where_datasets_are_made():
    limit = torch._dynamo.config.recompile_limit
    with models.dataset_without_images():
        assert torch._dynamo.config.recompile_limit == limit
        with models.hooks_guarded():
            assert torch._dynamo.config.recompile_limit == limit
        with models.compiled_side_by_side():
            assert torch._dynamo.config.recompile_limit > limit
            assert not torch._dynamo.config.skip_nnmodule_hook_guards
    assert torch._dynamo.config.recompile_limit == limit
