"""A demo folder is new, or holds this very demo; anything else is refused."""

from __future__ import annotations

import pytest

from nnunet_missingmod.demo.settings import DemoFolder, DemoSettings
from nnunet_missingmod.errors import UsageError


def test_new_folder_is_claimed_once_and_recognised_the_second_time(tmp_path):
    folder = DemoFolder(tmp_path / "demo")
    assert folder.claim(DemoSettings()) is False
    assert folder.claim(DemoSettings()) is True


def test_other_settings_are_refused_with_what_differs(tmp_path):
    folder = DemoFolder(tmp_path / "demo")
    folder.claim(DemoSettings(epochs=8))
    with pytest.raises(UsageError, match="epochs 8 there, 3 asked for"):
        folder.claim(DemoSettings(epochs=3))


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds other files"):
        DemoFolder(tmp_path).claim(DemoSettings())


def test_every_file_of_a_demo_lies_in_its_folder(tmp_path):
    folder = DemoFolder(tmp_path)
    places = [folder.dataset, folder.preprocessed, folder.model("t"), folder.host_predictions]
    places += [folder.test_images, folder.complete_test_images, folder.references]
    places += [folder.log("x"), folder.marker("x")]
    assert all(tmp_path in place.parents for place in places)
    variables = folder.environment
    assert {variables[f"nnUNet_{name}"] for name in ("raw", "preprocessed", "results")} == {
        str(tmp_path / f"nnUNet_{name}") for name in ("raw", "preprocessed", "results")
    }
