"""Changes of splits_final.json, and of the split that a training wrote for its fold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from fuzz_dataset_truth import Change, DatasetTruth, pick, refuse, splits_of, write_splits


def has_own(truth: DatasetTruth, fold: int = 0) -> bool:
    """Whether the model's fold has a split of its own, which its training wrote."""
    return own_split(truth, fold).is_file()


def own_split(truth: DatasetTruth, fold: int = 0) -> Any:
    return truth.model / f"fold_{fold}" / "split.json"


def trained_on(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    """Let splits_final.json, or the model's own split, call a training case a validation case."""
    splits = splits_of(truth)
    case = splits[0]["train"][0]
    splits[0]["val"].append(case)
    if has_own(truth) and rng.random() < 0.5:
        own_split(truth).write_text(json.dumps(splits[0]))
    else:
        if rng.random() < 0.5 and has_own(truth):
            splits[0]["train"].remove(case)
        write_splits(truth, splits)
    return refuse(truth, case, commands=("evaluate",))


def a_case_that_is_none(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    name = pick(rng, ["nobody", "../nobody", "", "no body", "nobody" * 60])
    splits = splits_of(truth)
    splits[0]["val"] = [*truth.folds[0], name]
    if has_own(truth):
        own_split(truth).write_text(json.dumps(splits[0]))
    else:
        write_splits(truth, splits)
    truth.folds[0] = [*truth.folds[0], name]
    truth.failures[name] = (f"case {name}:",)
    return True


def an_empty_fold(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    splits = splits_of(truth)
    splits[0]["val"] = []
    if has_own(truth):
        own_split(truth).write_text(json.dumps(splits[0]))
    else:
        write_splits(truth, splits)
    truth.folds[0] = []
    if 1 not in truth.folds:
        return refuse(truth, "fold", commands=("evaluate",))
    return True


def no_splits(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    file = truth.preprocessed / "splits_final.json"
    content = file.read_text()
    forms = [None, "", "[]", "{}", "null", "[5]", content[:-9], '[{"train": []}]', '[{"train": [1], "val": [2]}]']
    text = pick(rng, [*forms, "[" * 100_000])
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    return True if has_own(truth) else refuse(truth, "splits_final.json", commands=("evaluate",))


def a_damaged_own_split(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    if not has_own(truth):
        return False
    file = own_split(truth)
    content = file.read_text()
    forms = ["", "[]", "null", content[:-9], '{"train": []}', '{"train": [1], "val": [2]}', '{"train": {}, "val": {}}']
    file.write_text(pick(rng, forms))
    return refuse(truth, "split.json", commands=("evaluate",))


def in_two_folds(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    if 1 not in truth.folds or has_own(truth):
        return False
    splits = splits_of(truth)
    case = splits[0]["val"][0]
    splits[1]["val"].append(case)
    splits[1]["train"].remove(case)
    write_splits(truth, splits)
    return refuse(truth, case, commands=("evaluate",))


def a_fold_less(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    if 1 not in truth.folds or has_own(truth):
        return False
    write_splits(truth, splits_of(truth)[:1])
    return refuse(truth, "fold 1", commands=("evaluate",))


def a_case_twice_in_a_fold(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    splits = splits_of(truth)
    case = splits[0]["val"][0]
    splits[0]["val"].append(case)
    if has_own(truth):
        own_split(truth).write_text(json.dumps(splits[0]))
    else:
        write_splits(truth, splits)
    return refuse(truth, case, commands=("evaluate",))


def splits_with_a_byte_order_mark(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    file = own_split(truth) if has_own(truth) else truth.preprocessed / "splits_final.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    return True


SPLITS: dict[str, Change] = {
    change.__name__: change
    for change in (
        trained_on,
        a_case_that_is_none,
        an_empty_fold,
        no_splits,
        a_damaged_own_split,
        in_two_folds,
        a_fold_less,
        a_case_twice_in_a_fold,
        splits_with_a_byte_order_mark,
    )
}
