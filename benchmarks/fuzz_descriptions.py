"""Changes of dataset.json: forms of its entries, its text, and the cases that it lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz_dataset_truth import Change, DatasetTruth, Words, pick, refuse, spoil_case, untouched

NORMALISATIONS = {"ct": "ct", "nonorm": "none", "zscore": "z", "rescale_to_0_1": "01", "rgb_to_0_1": "rgb"}


def channels_in_a_wrong_form(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    written = truth.written
    forms: list[tuple[Any, Words]] = [
        (written, ("channel_names",)),
        ({f"c{name}": str(channel) for channel, name in enumerate(written)}, ("channel_names",)),
        ({str(channel + 1): name for channel, name in enumerate(written)}, ("channel_names",)),
        ({str(channel * 2 + 1): name for channel, name in enumerate(written)}, ("channel_names",)),
        ({}, ("names no channels",)),
        (None, ("names no channels",)),
        ("T1", ("channel_names",)),
        ({str(channel): channel for channel, name in enumerate(written)}, ("channel_names",)),
        ({"0": None}, ("channel_names",)),
        ({"0": ["T1"]}, ("channel_names",)),
    ]
    truth.content["channel_names"], words = pick(rng, forms)
    truth.write_content()
    return refuse(truth, *words)


def labels_in_a_wrong_form(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    forms: list[Any] = [
        None,
        [],
        {},
        "background",
        {"0": "background", "1": "tumour"},
        {"background": 0, "a": 1, "b": 3},
        {"background": 0, "a": 2},
        {"a": 1, "b": 2},
        {"background": 1, "a": 0},
        {"background": 0, "a": None},
        {"background": 0, "a": "x"},
        {"background": 0, "a": 1.5},
        {"background": 0, "a": -1},
        {"background": 0, "a": True},
        {"background": 0, "a": []},
        {"background": 0, "a": {"b": 1}},
        {"background": 0, "a": [1, [2]]},
        {"background": 0, "a": 1, "ignore": 1},
        {"background": 0, "a": 1, "ignore": 7},
        {"background": 0, "a": [1, 2], "b": 2},
    ]
    truth.content["labels"] = pick(rng, forms)
    truth.content.pop("regions_class_order", None)
    truth.write_content()
    return refuse(truth, "labels")


def labels_in_another_right_form(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    if not all(isinstance(value, int) for value in truth.labels.values()) or "ignore" in truth.labels:
        return False
    form = pick(rng, [str, float, lambda value: [value]])
    if form(1) == [1]:
        truth.done.append("labels_as_lists")
    changed = {name: form(value) if name != "background" else value for name, value in truth.labels.items()}
    if truth.regions != {name: (value,) for name, value in truth.labels.items() if name != "background"}:
        return False  # of BraTS, whose regions follow from plain labels
    truth.content["labels"] = changed
    truth.write_content()
    return True


def ending_in_a_wrong_form(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    truth.content["file_ending"] = pick(rng, [truth.ending[1:], "", ".", None, 5, [truth.ending]])
    truth.write_content()
    return refuse(truth, "file_ending")


def an_entry_is_missing(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    gone = pick(rng, ["labels", "file_ending", "channel_names"])
    del truth.content[gone]
    truth.write_content()
    return refuse(truth, {"channel_names": "names no channels"}.get(gone, gone))


def modality_as_in_version_1(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    if "channel_names" not in truth.content:
        return False
    truth.content["modality"] = truth.content.pop("channel_names")
    truth.write_content()
    return True


def channels_in_another_order(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    key = next((key for key in ("channel_names", "modality") if key in truth.content), None)
    if key is None or len(truth.written) < 2:
        return False
    turned = dict(reversed(truth.content[key].items()))
    truth.content[key] = turned
    truth.write_content()
    kinds = [NORMALISATIONS.get(name.casefold(), "z") for name in truth.written]
    if kinds != kinds[::-1]:
        truth.problems.append((None, ("ascending order",)))
    return True


def byte_order_mark(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    file = truth.raw / "dataset.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    truth.problems.append((None, ("byte-order mark",)))
    return True


def no_json(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    file = truth.raw / "dataset.json"
    content = file.read_bytes()
    deep = b"[" * 100_000
    forms = [b"", b"[]", b"null", b"5", b"\xff\xfe{", content[: len(content) // 2], content * 2]
    file.write_bytes(pick(rng, [*forms, deep, b'{"labels": ' + deep]))
    return refuse(truth, "dataset.json")


def no_dataset_json(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    file = truth.raw / "dataset.json"
    file.unlink()
    if rng.random() < 0.5:
        file.mkdir()
    return refuse(truth, "dataset.json")


def wrong_number_of_cases(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    truth.content["numTraining"] = pick(rng, [3, 0, -1, None, "4", 4.5, [], True])
    if rng.random() < 0.1:
        del truth.content["numTraining"]
    truth.write_content()
    truth.problems.append((None, ("numTraining",)))
    return True


def entries_that_no_one_knows(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    truth.content |= {"licence": "CC0", "name": None, "release": [1, {"2": 3}], "description": "ü"}
    truth.write_content()
    return True


def cases_are_listed(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    """List every case in the ``"dataset"`` entry, rightly, its files somewhere else if the reader allows that."""
    if "channel_names" not in truth.content or truth.refused:
        return False
    listing: dict[str, Any] = {}
    moved = truth.reader != "Tiff3DIO" and rng.random() < 0.7
    form = pick(rng, ["list", "names", "numbers", "null", "suffixes"])
    if form == "suffixes":
        moved = False
    if form == "numbers" and any(name.isdecimal() for name in truth.names):
        return False
    for number, case in enumerate(truth.arrays):
        files: dict[int, str] = {}
        for channel in truth.arrays[case]:
            file = truth.image(case, channel)
            if moved:
                target = truth.raw / f"scans {number}" / f"scan{channel}{truth.ending}"
                target.parent.mkdir(exist_ok=True)
                file.rename(target)
                file = target
            files[channel] = str(file) if rng.random() < 0.3 else str(file.relative_to(truth.raw))
        absent = None if form == "null" else ""
        in_order = [files.get(channel, absent) for channel in range(len(truth.names))]
        images: Any = in_order
        if form == "names":
            images = {truth.names[channel]: file for channel, file in files.items()}
        elif form == "numbers":
            images = {str(channel): file for channel, file in files.items()}
        elif form == "suffixes":
            images = [file for file in in_order if file]
        listing[case] = {"images": images, "label": str(truth.label(case).relative_to(truth.raw))}
    truth.content["dataset"] = listing
    truth.write_content()
    if form == "null" and any(len(arrays) < len(truth.names) for arrays in truth.arrays.values()):
        truth.problems.append((None, ("null",)))
    return True


def a_listed_case_is_wrong(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None or not cases_are_listed(truth, rng):
        return False
    listing = truth.content["dataset"]
    channel = next(iter(truth.arrays[case]))
    forms: list[tuple[Any, Words]] = [
        (["nowhere" + truth.ending] + [""] * (len(truth.names) - 1), ("nowhere",)),
        ({"no such name": "x"}, ("no such name",)),
        ({truth.names[channel]: "nowhere/x" + truth.ending}, ("nowhere/x",)),
        ([""] * len(truth.names), ("no image",)),
        ({}, ("no image",)),
        ([f"y{truth.ending}"] * (len(truth.names) + 1), (f"y{truth.ending}",)),
    ]
    listing[case]["images"], words = pick(rng, forms)
    truth.problems = [problem for problem in truth.problems if problem[1] != ("null",)]
    if any(None in list(entry["images"]) for entry in listing.values()):
        truth.problems.append((None, ("null",)))
    truth.write_content()
    return spoil_case(truth, case, *words)


def a_listing_is_none(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    if truth.refused:
        return False
    case = next(iter(truth.arrays))
    label = str(truth.label(case).relative_to(truth.raw))
    forms: list[Any] = [
        {},
        [],
        None,
        "x",
        [{"images": ["x"], "label": label}],
        {case: None},
        {case: []},
        {case: {"images": ["x"]}},
        {case: {"label": label}},
        {case: {"images": "x", "label": label}},
        {case: {"images": [5], "label": label}},
        {case: {"images": ["x"], "label": None}},
        {case: {"images": {"0": 5}, "label": label}},
    ]
    truth.content["dataset"] = pick(rng, forms)
    truth.write_content()
    return refuse(truth, "dataset")


SHARED: dict[str, Change] = {
    change.__name__: change
    for change in (
        channels_in_a_wrong_form,
        labels_in_a_wrong_form,
        labels_in_another_right_form,
        ending_in_a_wrong_form,
        an_entry_is_missing,
        modality_as_in_version_1,
        channels_in_another_order,
    )
}
"""Changes of dataset.json that the model's copy may have too: they go first."""

RAW: dict[str, Change] = {
    change.__name__: change
    for change in (
        byte_order_mark,
        no_json,
        no_dataset_json,
        wrong_number_of_cases,
        entries_that_no_one_knows,
        cases_are_listed,
        a_listed_case_is_wrong,
        a_listing_is_none,
    )
}
