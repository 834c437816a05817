"""Layers that run on the filling of an absent modality are found; those that are left out of the fusion are not."""

from __future__ import annotations

import pytest
import torch
from audit import toys
from audit.toys import SIZE, J
from torch import nn

from nnunet_missingmod.audit import Probe
from nnunet_missingmod.audit.constant import constant_check


@pytest.mark.parametrize("toy", [toys.BiasOfAbsent, toys.AttentionOverFillings])
def test_constants_of_absent_modalities_that_reach_the_output_are_found(probe_of, toy):
    found = constant_check(probe_of(toy))
    assert found.result == "fail"
    assert found.number >= 1
    assert "encoders." in found.meaning


@pytest.mark.parametrize("toy", [toys.MaskedMean, toys.ByName, toys.ByPosition])
def test_networks_that_leave_them_out_pass(probe_of, toy):
    # ByPosition is wrong in another way: its first encoder runs on another image, not on a filling.
    assert constant_check(probe_of(toy)).result == "pass"


def test_a_mean_over_zeros_is_no_constant(probe_of):
    without_bias = toys.BiasOfAbsent()
    for encoder in without_bias.encoders:
        encoder.register_parameter("bias", None)
    assert constant_check(probe_of(without_bias)).result == "pass"


def test_by_the_convention_of_zeros_it_is_a_note():
    class LateFusion(toys.MaskedMean):
        def forward(self, images):
            return self.decoder(self.encode(images).mean(1))

    network = toys.randomised(LateFusion())
    found = constant_check(Probe(network, num_modalities=J, input_shape=(SIZE, SIZE), absent="zero"))
    assert found.result == "note"
    assert found.number >= 1


def test_a_layer_that_is_called_once_for_each_modality_is_looked_at_call_by_call():
    class OneEncoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Conv2d(1, 2, 1)
            nn.init.ones_(self.encoder.bias)

        def forward(self, images, present):
            images = torch.where(toys.over(present, images), images, 0.0)
            return sum(self.encoder(images[:, j : j + 1]) for j in range(J))

    network = OneEncoder()
    found = constant_check(Probe(network, num_modalities=J, input_shape=(2, 2), absent=network))
    assert (found.result, found.number) == ("fail", J)


class _LateFusion(toys.MaskedMean):
    """Wrong: zeros in place of absent modalities, and the mean over all."""

    def forward(self, images, present):
        return self.decoder(self.encode(self.clean(images, present)).mean(1))


class _ByKeyword(_LateFusion):
    def encode(self, images):
        return torch.stack([encoder(input=images[:, j : j + 1]) for j, encoder in enumerate(self.encoders)], dim=1)


class _InOneBatch(_LateFusion):
    """One encoder, on a batch of B J samples."""

    def encode(self, images):
        stacked = images.reshape(-1, 1, *images.shape[2:])
        return self.encoders[0](stacked).reshape(len(images), J, -1, *images.shape[2:])


class _Grouped(_LateFusion):
    """A group of channels each in one sample: what follows may as well tell them apart, as it does here not."""

    def __init__(self):
        super().__init__()
        self.encoders = nn.Conv2d(J, J * toys.WIDTH, 3, padding=1, groups=J)

    def encode(self, images):
        return self.encoders(images).reshape(len(images), J, -1, *images.shape[2:])


class _Pair(nn.Module):
    """An encoder with parameters of its own, and features beside a skip."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(toys.WIDTH, 1, 3, 3))
        self.bias = nn.Parameter(torch.randn(toys.WIDTH))

    def forward(self, image):
        features = nn.functional.conv2d(image, self.weight, self.bias, padding=1)
        return features, {"skip": 2 * features}


class _Pairs(_LateFusion):
    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleList(_Pair() for _ in range(J))

    def encode(self, images):
        return torch.stack([e(images[:, j : j + 1])[1]["skip"] for j, e in enumerate(self.encoders)], dim=1)


@pytest.mark.parametrize("toy", [_LateFusion, _ByKeyword, _InOneBatch, _Pairs])
@pytest.mark.parametrize("frozen", [False, True], ids=["trainable", "frozen"])
def test_they_are_found_however_encoders_are_called_and_frozen_ones_too(probe_of, toy, frozen):
    network = toy()
    network.requires_grad_(not frozen)
    found = constant_check(probe_of(network))
    assert (found.result, found.number) == ("fail", J)
    assert {parameter.requires_grad for parameter in network.parameters()} == {not frozen}


@pytest.mark.parametrize("toy", [toys.ReadsTheMark, _Grouped])
def test_it_does_not_apply_where_modalities_stand_in_the_channels_of_one_sample(probe_of, toy):
    found = constant_check(probe_of(toy))
    assert found.result == "does not apply"
    assert "in the channels of one sample" in found.meaning


class _TokensOfAllModalities(toys.MaskedMean):
    """Tokens of all modalities, made without an encoder, go through one layer."""

    def __init__(self):
        super().__init__()
        self.encoders = None
        self.mixed = nn.Linear(toys.SIZE**2, toys.WIDTH)

    def encode(self, images):
        return self.mixed(images.flatten(2))[..., None, None].expand(-1, -1, -1, SIZE, SIZE)


class _UnmaskedTokens(_TokensOfAllModalities):
    def weights(self, present):
        return torch.full_like(present, 1 / J, dtype=torch.float64)


def test_tokens_of_absent_modalities_are_found_and_pass_where_they_are_left_out(probe_of):
    assert constant_check(probe_of(_TokensOfAllModalities)).result == "pass"
    found = constant_check(probe_of(_UnmaskedTokens))
    assert (found.result, found.number) == ("fail", J)
    assert "mixed (m" in found.meaning


def test_what_one_absent_modality_leaves_out_hides_no_other(probe_of):
    class TwoOfThree(_LateFusion):
        """One encoder for all, called for each; the last modality's result is used where that is there alone."""

        def forward(self, images, present):
            cleaned = self.clean(images, present)
            features = [self.encoders[0](cleaned[:, j : j + 1]) for j in range(J)]
            kept = features if bool(present[:, -1].all()) else features[:-1]
            return self.decoder(torch.stack(kept).mean(0))

    network = toys.randomised(TwoOfThree())
    probe = Probe(network, num_modalities=J, input_shape=(SIZE, SIZE), absent=network, subsets=[(0,), (0, 1, 2)])
    found = constant_check(probe)
    assert (found.result, found.number) == ("fail", 1)
    assert "encoders.0 (m1)" in found.meaning


def test_layers_that_compute_otherwise_with_a_graph_are_found(probe_of):
    class Rounded(nn.Conv2d):
        def forward(self, image):
            return super().forward(image) * (1 + 1e-9 if torch.is_grad_enabled() else 1)

    network = _LateFusion()
    network.encoders = nn.ModuleList(Rounded(1, toys.WIDTH, 3, padding=1) for _ in range(J))
    assert constant_check(probe_of(network)).result == "fail"


def test_a_learned_token_of_what_is_missing_is_a_note(probe_of):
    class MissingTokens(_LateFusion):
        def __init__(self):
            super().__init__()
            self.missing = nn.Parameter(torch.randn(J, toys.WIDTH))
            self.mixed = nn.Conv2d(toys.WIDTH, toys.WIDTH, 1)

        def forward(self, images, present):
            features = self.encode(self.clean(images, present))
            features = torch.where(toys.over(present, features), features, self.missing[:, :, None, None])
            mixed = self.mixed(features.flatten(0, 1)).reshape(features.shape)
            return self.decoder(mixed.mean(1))

    found = constant_check(probe_of(MissingTokens))
    assert (found.result, found.number) == ("note", J)
    assert "mixed (m" in found.meaning


def test_it_says_that_it_cannot_tell_without_a_graph(probe_of):
    class Labels(_LateFusion):
        def forward(self, images, present):
            return super().forward(images, present).argmax(1)

    found = constant_check(probe_of(Labels))
    assert (found.result, found.number) == ("does not apply", None)
    assert "no gradient" in found.meaning


def test_it_says_that_it_cannot_tell_where_the_images_choose_the_layers(probe_of):
    class Chooses(toys.MaskedMean):
        def forward(self, images, present):
            cleaned = self.clean(images, present)
            loudest = int(cleaned.std((0, 2, 3)).argmax())
            return self.decoder(self.encoders[loudest](cleaned[:, loudest : loudest + 1]))

    network = toys.randomised(Chooses())
    probe = Probe(network, num_modalities=J, input_shape=(SIZE, SIZE), absent=network)
    found = constant_check(probe)
    assert found.result == "does not apply"
    assert "depend on what the images hold" in found.meaning
