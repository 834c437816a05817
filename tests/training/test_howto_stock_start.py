"""What docs/howto_stock_start.md says of trainers that start from a stock model is so for every trainer."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod.host import CLASS_TABLE

TEXT = (Path(__file__).parents[2] / "docs" / "howto_stock_start.md").read_text(encoding="utf-8")
TRAINERS = [name for name in CLASS_TABLE if name.startswith("nnUNetTrainer")]


@pytest.fixture
def fits(make_tiny_dataset, preprocess, tmp_path, capsys):
    """Return a function that says whether nnU-Net takes a stock model's weights into a trainer's network."""
    tiny = make_tiny_dataset()
    preprocess(tiny, "2d")

    def network_of(kind, **block):
        plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
        if block:
            plans["configurations"]["2d"]["missingmod"] = block
        trainer = kind(plans, "2d", 0, json.loads(json.dumps(tiny.dataset_json)), torch.device("cpu"))
        trainer.initialize()
        return trainer.network

    stock = network_of(nnUNetTrainer)
    torch.save({"network_weights": stock.state_dict()}, tmp_path / "stock.pth")

    def asked(name, **block):
        network = network_of(getattr(import_module(CLASS_TABLE[name]), name), **block)
        try:
            load_pretrained_weights(network, str(tmp_path / "stock.pth"))
        except AssertionError:  # as nnU-Net refuses them
            return False
        first = "encoder.stages.0.0.convs.0.conv.weight"
        assert torch.equal(network.state_dict()[first], stock.state_dict()[first])
        layers = "decoder.seg_layers.0.weight"
        assert not torch.equal(network.state_dict()[layers], stock.state_dict()[layers])
        return True

    return asked


def test_the_trainers_that_fit_are_those_of_the_page(fits):
    listed = re.search(r"<!-- accepts stock weights -->\n(.*?)\n\n", TEXT, flags=re.DOTALL)
    assert [name for name in TRAINERS if fits(name)] == re.findall(r"`(\w+)`", listed[1])


@pytest.mark.parametrize("name", ["nnUNetTrainerMedMAP", "nnUNetTrainerHolderMI", "nnUNetTrainerHolderMIAnchorNormal"])
def test_the_block_of_the_page_makes_the_others_fit(fits, name):
    block = re.search(r"<!-- makes stock weights fit -->\n```json\n(.*?)\n```", TEXT, flags=re.DOTALL)
    assert fits(name, **json.loads(f"{{{block[1]}}}")["missingmod"])


def test_what_sets_it_apart_must_go_before_self_fits(fits):
    block = {"network": "stock", "channel_encoder": "none", "alignment_anchor": "none"}
    off = re.search(r'`("presence_conditioning": false, .*?)`', TEXT)
    assert fits("nnUNetTrainerHolderMISelf", **block, **json.loads(f"{{{off[1]}}}"))
    with pytest.raises(ValueError, match="presence_conditioning"):
        fits("nnUNetTrainerHolderMISelf", **block)
