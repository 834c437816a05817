"""The terms are in nnU-Net's log, checkpoint and progress figure."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from PIL import Image

from nnunet_missingmod.training.term_trainer import TermLogger, append_panel

HOST_SERIES = tuple(LocalLogger().my_fantastic_logging)


def test_the_log_has_the_hosts_series_and_ours_and_restores_them():
    logger = TermLogger(["loss_alignment"])
    logger.log("loss_alignment", 0.5, 0)
    restored = TermLogger(["loss_alignment"])
    restored.load_checkpoint(logger.get_checkpoint())
    assert restored.get_value("loss_alignment", 0) == 0.5
    assert set(restored.get_checkpoint()) == {*HOST_SERIES, "loss_alignment"}


def test_the_panel_is_below_the_image_which_is_unchanged(tmp_path):
    file = tmp_path / "progress.png"
    above = np.full((300, 200, 3), 7, dtype=np.uint8)
    Image.fromarray(above).save(file)
    append_panel(file, {"loss_divergence": [1.0, 0.5], "mixture_weights": [[0.9, 0.1], [0.8, 0.2]]})
    with Image.open(file) as figure:
        joined = np.asarray(figure)
    assert joined.shape == (420, 200, 3)
    np.testing.assert_array_equal(joined[:300], above)
    assert joined[300:].std() > 0


@pytest.mark.parametrize("damage", [lambda png: png[:50], lambda png: png[:40] + b"x" * 40, lambda _: b""])
def test_a_damaged_figure_ends_no_training(tmp_path, monkeypatch, caplog, damage):
    file = tmp_path / "progress.png"
    Image.fromarray(np.zeros((30, 20, 3), dtype=np.uint8)).save(file)
    file.write_bytes(damage(file.read_bytes()))
    monkeypatch.setattr(LocalLogger, "plot_progress_png", lambda *_: None)
    logger = TermLogger(["loss_divergence"])
    logger.log("loss_divergence", 0.5, 0)
    logger.plot_progress_png(str(tmp_path))
    assert "has no panel of the loss terms" in caplog.text


@pytest.mark.slow
def test_progress_png_has_one_panel_more(tmp_path):
    def fill(logger):
        for name, series in logger.my_fantastic_logging.items():
            series += [[0.1, 0.2]] * 2 if name in ("dice_per_class_or_region", "mixture_weights") else [0.5, 0.25]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the host's styling
            logger.plot_progress_png(str(tmp_path))
        with Image.open(tmp_path / "progress.png") as figure:
            return figure.size

    width, height = fill(LocalLogger())
    assert fill(TermLogger(["loss_segmentation", "mixture_weights"])) == (width, height + round(width * 0.6))
    assert fill(TermLogger([])) == (width, height)
