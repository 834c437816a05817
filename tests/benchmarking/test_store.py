"""A prediction is used again only if nothing that decides it has changed."""

from __future__ import annotations

import pytest

from nnunet_missingmod.benchmarking.store import Origin, PredictionStore

ORIGIN = Origin("weights", {"mirroring": True}, {"T1": "a", "T2": "b"})
BOTH, FIRST = (0, 1), (0,)


@pytest.fixture
def store(tmp_path):
    return PredictionStore(tmp_path / "model", ("T1", "T2"), ".nii.gz")


def predict(store, case, *subsets, origin=ORIGIN):
    for subset in subsets:
        file = store.file(case, subset)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{case}{subset}")
    store.record(case, origin, subsets, present=["T1", "T2"])


def test_nothing_is_usable_before_it_is_recorded(store):
    store.file("a", BOTH).parent.mkdir(parents=True)
    store.file("a", BOTH).write_text("half")
    assert store.usable("a", ORIGIN, [BOTH]) == []
    assert store.present("a", ORIGIN) is None


def test_what_is_recorded_is_usable(store):
    predict(store, "a", BOTH, FIRST)
    assert store.usable("a", ORIGIN, [FIRST, BOTH, (1,)]) == [FIRST, BOTH]
    assert store.usable("b", ORIGIN, [FIRST]) == []
    assert store.present("a", ORIGIN) == ("T1", "T2")


def test_the_agreement_of_folds_is_kept_with_what_was_predicted(store):
    assert store.fold_agreement("a", ORIGIN) == {}
    predict(store, "a", FIRST)
    assert store.fold_agreement("a", ORIGIN) == {}
    for subset, value in ((BOTH, 0.5), (FIRST, 0.25)):
        store.file("a", subset).parent.mkdir(parents=True, exist_ok=True)
        store.file("a", subset).write_text("labels")
        store.record("a", ORIGIN, [subset], present=["T1", "T2"], fold_agreement={subset: {"WT": value}})
    assert store.fold_agreement("a", ORIGIN) == {"T1+T2": {"WT": 0.5}, "T1": {"WT": 0.25}}
    assert store.fold_agreement("a", Origin("other weights", ORIGIN.settings, ORIGIN.images)) == {}


@pytest.mark.parametrize(
    "other",
    [
        Origin("other weights", ORIGIN.settings, ORIGIN.images),
        Origin(ORIGIN.model, {"mirroring": False}, ORIGIN.images),
        Origin(ORIGIN.model, ORIGIN.settings, {"T1": "a", "T2": "changed"}),
        Origin(ORIGIN.model, ORIGIN.settings, {"T1": "a"}),
    ],
)
def test_another_origin_makes_it_useless(store, other):
    predict(store, "a", BOTH)
    assert store.usable("a", other, [BOTH]) == []
    assert store.present("a", other) is None


def test_a_file_that_is_gone_or_changed_is_not_usable(store):
    predict(store, "a", BOTH, FIRST)
    store.file("a", BOTH).write_text("cut o")
    store.file("a", FIRST).unlink()
    assert store.usable("a", ORIGIN, [FIRST, BOTH]) == []


def test_a_second_record_adds_to_the_first(store):
    predict(store, "a", FIRST)
    predict(store, "a", BOTH)
    assert store.usable("a", ORIGIN, [FIRST, BOTH]) == [FIRST, BOTH]


def test_a_record_of_another_origin_replaces_the_first(store):
    predict(store, "a", FIRST)
    other = Origin("other weights", ORIGIN.settings, ORIGIN.images)
    predict(store, "a", BOTH, origin=other)
    assert store.usable("a", other, [FIRST, BOTH]) == [BOTH]


def test_a_torn_record_counts_as_none(store):
    predict(store, "a", BOTH)
    record = store.folder / "records" / "a.json"
    record.write_text(record.read_text()[:40])
    assert store.usable("a", ORIGIN, [BOTH]) == []


def test_folders_are_named_after_the_modalities_and_never_collide(tmp_path):
    plain = PredictionStore(tmp_path, ("T1", "T 1/x"), ".nii.gz")
    assert plain.file("a", (0, 1)) == tmp_path / "T1+T_1_x" / "a.nii.gz"
    alike = PredictionStore(tmp_path, ("T/1", "T_1"), ".nii.gz")
    assert alike.file("a", (0, 1)) == tmp_path / "0-1" / "a.nii.gz"
    assert PredictionStore(tmp_path, ("records", "b"), ".png").file("a", (0,)) == tmp_path / "0" / "a.png"


def test_many_modalities_are_recorded_without_listing_their_subsets(tmp_path):
    names = tuple(f"phase {channel}" for channel in range(50))
    store = PredictionStore(tmp_path / "model", names, ".nii.gz")
    subsets = [tuple(range(50)), (0,), tuple(range(49))]
    for subset in subsets:
        predict(store, "a", subset)
    assert store.usable("a", ORIGIN, subsets) == subsets
    assert len({store.file("a", subset).parent.name for subset in subsets}) == 3
    assert max(len(path.name) for path in (tmp_path / "model").iterdir()) < 100


def test_names_that_are_no_folders_are_numbered(tmp_path):
    store = PredictionStore(tmp_path, ("..", "."), ".nii.gz")
    assert store.file("a", (0,)).parent == tmp_path / "0"
