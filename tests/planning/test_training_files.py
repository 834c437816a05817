"""Which lists of training cases lack files."""

from __future__ import annotations

import pytest

from nnunet_missingmod.planning.training_files import lack_files

JSON = {"channel_names": {"0": "T1", "1": "T2", "2": "FLAIR"}, "file_ending": ".png"}


@pytest.mark.parametrize(
    ("files", "lacks"),
    [
        ([(0, 1, 2), (0, 1, 2)], False),
        ([(0, 1, 2), (0, 2)], True),
        ([(0,), (0,)], False),  # one file with all channels, as nnU-Net's RGB pictures
        ([(0,), (1,), (2,)], True),  # each case has another modality
        ([(0, 1), (0, 1)], True),
    ],
)
def test_by_names(files, lacks):
    cases = {
        f"c{number}": {"images": [f"/raw/c{number}_{channel:04d}.png" for channel in channels]}
        for number, channels in enumerate(files)
    }
    assert lack_files(cases, JSON) is lacks


def test_by_list(tmp_path):
    there = tmp_path / "a.png"
    there.touch()
    listed = {**JSON, "dataset": {}}
    assert not lack_files({"c": {"images": [str(there)] * 3}}, listed)
    assert lack_files({"c": {"images": [str(there), "", str(there)]}}, listed)
