"""Probes of the toys, and audits by the name of the check."""

from __future__ import annotations

import pytest
import torch
from audit import toys
from audit.toys import SIZE, J, randomised

from nnunet_missingmod.audit import Probe


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def probe_of():
    """Return a function that makes the probe of a toy: fed with a mask if it takes one, else by the mark."""

    def make(toy, **more):
        network = randomised(toy() if isinstance(toy, type) else toy)
        if isinstance(network, toys.MaskedMean):
            more.setdefault("absent", network)
        if isinstance(network, toys.ByName):
            more.setdefault("named", network)
        return Probe(network, **{"num_modalities": J, "input_shape": (SIZE, SIZE), **more})

    return make
