"""Every choice stands once: networks, losses, trainers and documents know what `choices` lists, and nothing else."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
import torch
from torch import nn

from nnunet_missingmod import choices
from nnunet_missingmod.choices import KEYS, TERMS, TRAINERS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.losses.alignment import AnchorAlignmentLoss
from nnunet_missingmod.losses.divergences import divergence
from nnunet_missingmod.losses.term import StepTerm
from nnunet_missingmod.networks.bottleneck import build_bottleneck
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.substitution import SubstitutingEncoder
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.subsets import ModalityDropout

BY_NAME = {key.name: key for key in KEYS}


def use_encoders(encoders="shared", feature_fusion="mean"):
    def backbone():
        built = nn.Module()
        built.encoder, built.decoder = nn.Module(), nn.Module()
        built.encoder.conv_op, built.encoder.output_channels, built.encoder.strides = nn.Conv2d, [2], [(1, 1)]
        built.encoder.layer, built.decoder.encoder = nn.Conv2d(1, 1, 1), built.encoder
        built.decoder.num_classes, built.decoder.transpconvs = 2, []
        return built

    branches = [] if encoders == "shared" else [backbone(), backbone()]
    channels = ChannelEncoder(2, "none", conv_op=nn.Conv2d)
    return ModalityEncoderNetwork(
        channels, backbone(), encoders=encoders, branches=branches, feature_fusion=feature_fusion
    )


def use_divergence(name):
    uniform = torch.zeros(1, 2)
    return divergence(name, uniform, uniform, **dict.fromkeys(choices.DIVERGENCES.get(name, ()), 2.0))


# What the code does with the value of a key.
USES = {
    "channel_encoder": lambda value: (
        SubstitutingEncoder(2, width=1) if value == "substituting" else ChannelEncoder(2, value)
    ),
    "absent_fill": lambda value: ChannelEncoder(2, "shared", absent_fill=value),
    "encoders": lambda value: use_encoders(encoders=value),
    "feature_fusion": lambda value: use_encoders(feature_fusion=value),
    "bottleneck": lambda value: build_bottleneck(value, 4, 2, [2, 2]),
    "alignment_anchor": lambda value: AnchorAlignmentLoss(value, ["a", "b"], anchor_modality="a"),
    "divergence": use_divergence,
    "modality_dropout": ModalityDropout,
}
# What is off is not built.
WITHOUT_CODE = {("divergence", "none"), ("modality_dropout", "none"), ("bottleneck", "none")}


@pytest.mark.parametrize("name", USES)
def test_the_code_knows_the_values_and_no_others(name):
    for value in BY_NAME[name].range.values:
        if (name, value) not in WITHOUT_CODE:
            USES[name](value)
    with pytest.raises(ValueError, match="nonsense"):
        USES[name]("nonsense")


def test_every_name_occurs_once():
    names = [key.name for key in KEYS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_default_is_accepted_and_survives_json(key):
    if key.default is not None:
        assert key.accepts(json.loads(json.dumps(key.default)))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_defaults_contradict_nothing_and_every_contradiction_can_be_asked(key):
    assert not [message for contradicts, message in key.conflicts if contradicts(resolve(None))]


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_a_term_has_a_switch_that_is_off_by_default_a_weight_and_a_loss(term):
    assert not term.is_on(resolve(None))
    switch = BY_NAME[term.switch]
    if term.kinds:
        assert set(term.kinds) < set(switch.range.values)
    else:
        assert switch.range.values[:1] == (choices.OFF,) or switch.default is False
    assert BY_NAME[term.weight].allowed == "number, at least 0"
    module, name = term.loss.split(":")
    assert issubclass(getattr(import_module(f"nnunet_missingmod.losses.{module}"), name), StepTerm)


@pytest.mark.parametrize("name", [name for _, names in TRAINERS.values() for name in names])
def test_a_trainer_sets_keys_that_exist_to_values_that_are_accepted(name):
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    sets = {key: value for key, value in vars(kind).items() if not key.startswith("_")}
    assert sets
    assert all(BY_NAME[key].accepts(value) for key, value in sets.items())


def test_every_key_with_a_weight_is_the_switch_of_a_term():
    # The alignment's switch is called by what it aligns to.
    weighted = {name.removesuffix("_weight") for name in BY_NAME if name.endswith("_weight")}
    assert weighted == {term.name for term in TERMS}


@pytest.mark.parametrize("name", [name for _, names in TRAINERS.values() for name in names])
def test_a_trainer_differs_from_the_one_it_is_derived_from(name):
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    sets = {key: value for key, value in vars(kind).items() if key in BY_NAME}
    inherited = {key: getattr(kind.__base__, key, BY_NAME[key].default) for key in sets}
    bases_are_abstract = kind.__base__.__name__ not in CLASS_TABLE
    assert bases_are_abstract or sets != inherited
