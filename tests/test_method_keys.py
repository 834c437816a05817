"""The methods' keys offer exactly what networks and losses know."""

from __future__ import annotations

import pytest

from nnunet_missingmod.losses.alignment import ANCHORS
from nnunet_missingmod.losses.divergences import DIVERGENCE_NAMES
from nnunet_missingmod.method_keys import METHOD_KEYS
from nnunet_missingmod.networks.channel_encoder import ABSENT_FILLS, KINDS
from nnunet_missingmod.networks.parallel import FEATURE_FUSIONS, FUSED_AT

BY_NAME = {key.name: key for key in METHOD_KEYS}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("alignment_anchor", ANCHORS),
        ("divergence", ("none", *DIVERGENCE_NAMES)),
        ("channel_encoder", KINDS),
        ("absent_fill", ABSENT_FILLS),
        ("fused_at", FUSED_AT),
        ("feature_fusion", FEATURE_FUSIONS),
    ],
)
def test_what_the_code_knows_is_accepted_and_listed_and_nothing_else(name, values):
    key = BY_NAME[name]
    assert all(map(key.accepts, values))
    assert sorted(key.allowed.replace(" or ", ", ").split(", ")) == sorted(f'"{value}"' for value in values)
