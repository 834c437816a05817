from __future__ import annotations

import pytest

from nnunet_missingmod.evaluation.atomic_file import replacing, write_text


def test_the_new_file_takes_the_place_of_the_old_one_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "a.csv"
    write_text(path, "old\n")
    write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_whole(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_keeps_the_suffix(tmp_path):
    with replacing(tmp_path / "a.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.touch()
