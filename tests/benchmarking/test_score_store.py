"""Scores are used again only if all that determines them is unchanged."""

from __future__ import annotations

from math import inf, isnan, nan

import pytest

from nnunet_missingmod.benchmarking.score_store import ScoreStore, Stored
from nnunet_missingmod.evaluation.scoring import RegionScore

ORIGIN = {"reference": "r", "regions": {"WT": [1, 2]}, "tolerance_mm": 1.0, "ignore_label": None}
NOTHING = Stored({}, {})
SCORES = {"WT": RegionScore(0.1 + 0.2, inf, 0.0, 1.0, 10, 0, 30.5, 0.125)}


@pytest.fixture
def store(tmp_path):
    return ScoreStore(tmp_path / "A (outside)")


def test_what_is_written_is_read_back_exactly(store):
    empty = {"WT": RegionScore(nan, nan, nan, 1.0, 0, 0, 30.5)}
    store.write("a", ORIGIN, Stored({"p": SCORES, "q": empty}, {"p and q": {"WT": 0.1 + 0.2}}))
    found = store.read("a", ORIGIN)
    assert found.scores["p"] == SCORES
    assert isnan(found.scores["q"]["WT"].dice)
    assert found.agreement == {"p and q": {"WT": 0.1 + 0.2}}
    assert store.read("b", ORIGIN) == NOTHING


@pytest.mark.parametrize("change", [{"reference": "s"}, {"regions": {"WT": [1]}}, {"tolerance_mm": 2.0}, {"new": 1}])
def test_another_origin_makes_it_useless(store, change):
    store.write("a", ORIGIN, Stored({"p": SCORES}, {"p": {"WT": 0.5}}))
    assert store.read("a", {**ORIGIN, **change}) == NOTHING


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"origin": 1}',
        '{"origin": {}, "scores": {"p": {"WT": {}}}}',
        '{"origin": {}, "scores": {}, "agreement": {"p": {"WT": "a"}}}',
    ],
)
def test_a_record_that_is_none_counts_as_none(store, content):
    store.write("a", ORIGIN, Stored({"p": SCORES}, {}))
    (store.folder / "a.json").write_text(content)
    assert store.read("a", ORIGIN) == NOTHING
    assert store.read("a", {}) == NOTHING
