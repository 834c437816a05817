"""What the bridge answers, also where this package is broken or gone."""

from __future__ import annotations

import sys
import types

import pytest

from nnunet_missingmod import host


def load_bridge():
    module = types.ModuleType("bridge")
    exec(host.bridge(), module.__dict__)
    return module


def test_bridge_answers_for_our_classes_only():
    bridge = load_bridge()
    for name in host.CLASS_TABLE:
        assert getattr(bridge, name).__name__ == name
    assert not hasattr(bridge, "nnUNetTrainerDA5")
    assert not hasattr(bridge, "nnUNetTrainer")
    assert not hasattr(bridge, "__path__")


@pytest.mark.parametrize("error", [ImportError, SyntaxError, RuntimeError])
def test_bridge_is_silent_when_this_package_is_broken(monkeypatch, error):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "nnunet_missingmod.host":
                raise error("broken")

    monkeypatch.delitem(sys.modules, "nnunet_missingmod.host")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    bridge = load_bridge()
    assert not hasattr(bridge, "nnUNetTrainerDA5")
    assert not hasattr(bridge, "nnUNetTrainerZeroFill")
