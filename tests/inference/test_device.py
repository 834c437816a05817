"""The device that was asked for is there, or refused."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.inference.device import choose_device


def test_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="no device 'cuda' here: give cpu"):
        choose_device("cuda")
    with pytest.raises(ValueError, match="Unknown device 'gpu'"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto") == torch.device("cuda")
    with pytest.raises(ValueError, match="no device 'cuda:3'"):
        choose_device("cuda:3")
