"""Which choices of networks go together, and that models of before a key was known are built as they were."""

from __future__ import annotations

import pytest

from nnunet_missingmod.network_choices import BEFORE, NETWORK_KEYS
from nnunet_missingmod.plans_block import check_choices, resolve, substitution_order

NAMES = ("FLAIR", "T1")
BY_NAME = {key.name: key for key in NETWORK_KEYS}


@pytest.mark.parametrize("name", BEFORE)
def test_models_of_before_a_key_have_its_default(name):
    assert BEFORE[name] == BY_NAME[name].default


@pytest.mark.parametrize(
    "block",
    [
        {"network": "modality_encoders"},
        {"network": "modality_encoders", "feature_fusion": "attention"},
        {"network": "modality_encoders", "encoders": "slim", "feature_fusion": "concatenate"},
        {"network": "modality_encoders", "encoders": "separate", "presence_conditioning": True},
        {"network": "parallel", "fused_at": "features", "feature_fusion": "moments"},
    ],
)
def test_what_goes_together_is_accepted(block):
    check_choices(resolve(block), NAMES)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"substitution": "brats"}, 'channel_encoder is not "substituting"'),
        ({"channel_encoder": "substituting", "network": "modality_encoders"}, 'is of network "early"'),
        ({"channel_encoder": "substituting", "channel_encoder_width": 2}, "set channel_encoder_width to 1"),
        ({"channel_encoder": "substituting", "absent_fill": "learned"}, 'set absent_fill to "zero"'),
        ({"channel_encoder": "substituting", "alignment_anchor": "mixture"}, "made of one another"),
        ({"channel_divergence": True}, 'of channel_encoder "substituting"'),
        ({"encoders": "separate"}, 'encoders does nothing, because network is not "modality_encoders"'),
        ({"network": "parallel", "encoders": "slim"}, "encoders does nothing"),
        ({"feature_fusion": "gated"}, 'needs network "modality_encoders"'),
        ({"network": "modality_encoders", "encoders": "slim"}, 'set feature_fusion to "concatenate"'),
        ({"network": "modality_encoders", "absent_fill": "learned"}, 'set absent_fill to "zero"'),
        ({"network": "modality_encoders", "fused_at": "features"}, 'network is not "parallel"'),
        ({"network": "parallel", "presence_conditioning": True}, "set it to false"),
        (
            {"network": "modality_encoders", "shared_distance": True},
            'shared_distance is of network "modality_encoders"',
        ),
        ({"domain_classification": True}, 'domain_classification is of network "modality_encoders"'),
    ],
)
def test_what_contradicts_or_does_nothing_is_refused(block, message):
    with pytest.raises(ValueError, match=message):
        check_choices(resolve(block), NAMES)


@pytest.mark.parametrize("network", ["early", "stock", "parallel"])
@pytest.mark.parametrize("term", ["shared_distance", "domain_classification"])
def test_losses_of_encoders_are_refused_where_a_trainers_encoders_are_not_built(network, term):
    own = {"network": "modality_encoders", "encoders": "shared_specific", "feature_fusion": "concatenate"}
    check_choices(resolve({term: True}, own), NAMES, own)
    block = {"network": network, "feature_fusion": "mean", term: True}
    with pytest.raises(ValueError, match=f'{term} is of network "modality_encoders"'):
        check_choices(resolve(block, own), NAMES, own)


def order_of(value, names=("FLAIR", "T1", "T1ce", "T2")):
    return substitution_order({"substitution": value}, names)


def test_substitutes_become_numbers_of_channels():
    assert order_of("learned") == "learned"
    assert order_of("brats") == [[3, 2, 1], [2, 3, 0], [1, 0, 3], [0, 1, 2]]
    assert order_of({"CT": ["PET"], "PET": ["CT"]}, ("CT", "PET")) == [[1], [0]]
    assert order_of([[1], [0]], ("CT", "PET")) == [[1], [0]]


@pytest.mark.parametrize(
    ("value", "names", "message"),
    [
        ("brats", ("CT", "PET"), "these are CT, PET"),
        ({"CT": ["PET"]}, ("CT", "PET"), r"must name, for PET, each of CT once, got {'CT': \['PET'\]}\."),
        ({"CT": ["MR"], "PET": ["CT"]}, ("CT", "PET"), "for CT, each of PET once"),
        ({"CT": ["PET"], "PET": ["CT"], "MR": []}, ("CT", "PET"), "an order for each of CT, PET, got 3 orders"),
        ([[9]], ("CT", "PET"), r"for CT, each of PET once, got \[\[9\]\]\."),
        ([[1]], ("CT", "PET"), r"for PET, each of CT once, got \[\[1\]\]\."),
        ([[1], [1]], ("CT", "PET"), r"for PET, each of CT once, got \[\[1\], \[1\]\]\."),
        ([[-1], [0]], ("CT", "PET"), r"for CT, each of PET once, got \[\[-1\], \[0\]\]\."),
        (
            [[1, 1, 2], [0, 2], [0, 1]],
            ("CT", "PET", "MR"),
            r"for CT, each of PET, MR once, got \[\[1, 1, 2\], \[0, 2\], \[0, 1\]\]\.",
        ),
        ([[1], [0], []], ("CT", "PET"), "an order for each of CT, PET, got 3 orders"),
    ],
)
def test_substitutes_that_are_no_order_are_refused(value, names, message):
    with pytest.raises(ValueError, match=message):
        order_of(value, names)
