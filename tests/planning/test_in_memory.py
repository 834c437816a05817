"""In memory, nnU-Net's searches find their own classes and ours."""

from __future__ import annotations

import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class as find

from nnunet_missingmod.planning.in_memory import SEARCHED, bridge_in_memory


def test_in_memory_nnunet_finds_its_planners_extractors_and_preprocessors_and_ours():
    bridge_in_memory()
    for folder, names in {
        "experiment_planning": ("MissingModFingerprintExtractor", "MissingModPlanner", "ExperimentPlanner"),
        "preprocessing": ("MissingModPreprocessor", "DefaultPreprocessor"),
    }.items():
        for name in names:
            found = find(f"{nnunetv2.__path__[0]}/{folder}", name, f"nnunetv2.{folder}")
            assert found.__name__ == name
        assert find(f"{nnunetv2.__path__[0]}/{folder}", "NoSuchClass", f"nnunetv2.{folder}") is None
    for module in SEARCHED:
        del vars(module)["__getattr__"]
