"""What was measured on networks comes back from its files, and a damaged file is as none."""

from __future__ import annotations

import numpy as np

from nnunet_missingmod.benchmarking.network_store import COSTS, save_latents, saved_costs, saved_latents
from nnunet_missingmod.evaluation.modality_gap import Latents


def test_a_damaged_file_of_costs_is_as_none(tmp_path):
    assert saved_costs(tmp_path, ["ours"]) == {}
    for content in ("{", "[]", '{"ours": {}}', '{"ours": {"cost": {"seconds": 1}}}'):
        (tmp_path / COSTS).write_text(content)
        assert saved_costs(tmp_path, ["ours"]) == {}


def test_latents_are_kept_for_the_report_and_earlier_ones_are_no_other_models(tmp_path, caplog):
    kept = Latents(np.arange(12, dtype=np.float32).reshape(2, 3, 2), ("T1", "T2+C"), np.array([0, 0, 1]))
    save_latents({"a": kept}, tmp_path, ["a", "b (outside)"])
    (found,) = saved_latents(tmp_path, ["a", "b (outside)"]).values()
    np.testing.assert_array_equal(found.values, kept.values)
    np.testing.assert_array_equal(found.cases, kept.cases)
    assert found.modalities == kept.modalities
    (tmp_path / "latents" / "a.npz").write_bytes(b"torn")
    assert saved_latents(tmp_path, ["a"]) == {}
    assert "No latents of a: " in caplog.text
    save_latents({}, tmp_path, ["a"])
    assert not (tmp_path / "latents" / "a.npz").exists()
