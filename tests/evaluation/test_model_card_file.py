from __future__ import annotations

import json

import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, rows_of

from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.model_card import FILE_NAME, VERSION, make_card, read_card, write_card

QUICK = Bootstrap(resamples=100)


@pytest.fixture
def card():
    return make_card(random_rows(cases=6), modalities=BRATS_NAMES, bootstrap=QUICK, provenance={"weights": ["a", 1]})


def test_a_card_comes_back_as_it_was_and_is_written_the_same_each_time(card, tmp_path):
    path = tmp_path / "model" / FILE_NAME
    write_card(card, path)
    assert read_card(path) == card
    first = path.read_bytes()
    write_card(read_card(path), path)
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]


def test_undefined_values_are_null_and_come_back_undefined(tmp_path):
    card = make_card(rows_of({"A": (0.5,)}), modalities=AB, bootstrap=QUICK)
    write_card(card, tmp_path / "card.json")
    assert "NaN" not in (tmp_path / "card.json").read_text()
    back = read_card(tmp_path / "card.json")
    assert str(back) == str(card)  # as text, since NaN is not equal to itself


def test_names_of_any_alphabet_are_kept(tmp_path):
    card = make_card(rows_of({"A": (0.5, 0.6)}, model="Hölder–MI"), modalities=AB, bootstrap=QUICK)
    write_card(card, tmp_path / "card.json")
    assert read_card(tmp_path / "card.json").model == "Hölder–MI"
    assert "Hölder" in (tmp_path / "card.json").read_text(encoding="utf-8")


def changed(content, *keys, to):
    """Set (or with None remove) what lies at the keys."""
    place = content
    for key in keys[:-1]:
        place = place[key]
    if to is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = to


@pytest.mark.parametrize(
    ("keys", "to", "message"),
    [
        (("format",), "something else", "'something else' and not 'nnunet_missingmod model card'"),
        (("version",), VERSION + 1, f"its version is {VERSION + 1}, this package reads up to {VERSION}"),
        (("version",), "1", "'version' of the file is '1' and not a number"),
        (("version",), True, "'version' of the file is True"),
        (("modalities",), None, "'modalities' of the file is None"),
        (("modalities",), [], "'modalities' of the file lists no names"),
        (("modalities",), ["A", "A"], "each once"),
        (("modalities",), ["FLAIR", "T1", "T1ce", "T2", "DWI"], "'DWI' of FLAIR, gain_with"),
        (("subsets", "T1"), None, "'T1' of subsets is None and not an object"),
        (("subsets", "T1", "mean"), 0.5, "'mean' of T1 is 0.5 and not an object"),
        (("subsets", "T1", "mean", "mean"), "high", "'mean' of mean, T1 is 'high' and not a number"),
        (("subsets", "T1", "mean", "low"), None, "'low' of mean, T1 is None and not a number"),
        (("subsets", "T1", "regions", "ET", "mean"), 87.3, "'ET' of T1, regions is .*outside of 0..1"),
        (("subsets", "T1", "regions", "ET", "low"), 0.999, "'ET' of T1, regions"),
        (("subsets", "T1", "regions", "WT"), None, "'WT' of T1, regions is None"),
        (("subsets", "T1", "gain_with", "T2", "mean"), -1.5, "'T2' of T1, gain_with is .*outside of -1..1"),
        (("subsets", "T1", "gain_with", "T2"), None, "'T2' of T1, gain_with is None"),
        (("convention",), "brats", "'convention' of the file is 'brats' and not an object"),
        (("confidence",), float("inf"), "'confidence' of the file is inf"),
        (("version",), 10**400, "'version' of the file is 1000.*, which is out of range"),
        (("model",), ["x" * 10_000], "'model' of the file is .'x{20,60}[.]{3}x{20,60}'. and not a text"),
        (("cases",), [1, 2], "'cases' of the file lists no names"),
    ],
)
def test_a_card_with_an_impossible_value_is_refused_by_file_and_value(card, tmp_path, keys, to, message):
    path = tmp_path / "card.json"
    write_card(card, path)
    content = json.loads(path.read_text())
    changed(content, *keys, to=to)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"card.json is no model card that can be used: .*{message}") as caught:
        read_card(path)
    assert str(caught.value).endswith("Evaluate the model again.")


def test_a_card_that_is_nested_too_deeply_or_a_folder_is_refused(card, tmp_path):
    path = tmp_path / "card.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match="card.json cannot be read as JSON: it is nested too deeply"):
        read_card(path)
    write_card(card, path)
    deep = json.loads(path.read_text())
    nested = deep["model"] = []
    for _ in range(800):
        nested.append([])
        nested = nested[0]
    path.write_text(json.dumps(deep))
    with pytest.raises(ValueError, match="'model' of the file is .* and not a text"):
        read_card(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder is a folder, not a model card: remove it"):
        read_card(tmp_path / "folder")


def test_a_card_that_names_more_modalities_than_it_has_subsets_for_is_refused_at_once(card, tmp_path):
    path = tmp_path / "card.json"
    write_card(card, path)
    content = json.loads(path.read_text())
    content["modalities"] = [f"M{channel}" for channel in range(60)]  # 2^60 subsets
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'M0' of subsets is None and not an object"):
        read_card(path)


def test_a_card_of_one_modality_comes_back_and_has_no_advice(tmp_path):
    card = make_card(rows_of({"A": (0.5, 0.7)}), modalities=("A",), bootstrap=QUICK)
    write_card(card, tmp_path / "card.json")
    back = read_card(tmp_path / "card.json")
    assert back == card
    assert back.expected(["a"]).mean.mean == pytest.approx(0.6)
    assert back.advise(["A"]) == []


def test_further_keys_are_ignored(card, tmp_path):
    path = tmp_path / "card.json"
    write_card(card, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": "kept by hand"}))
    assert read_card(path) == card


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist: evaluate the model first"):
        read_card(tmp_path / "card.json")
    for content in (b"{", b"\xff\xfe", b"[1]", b"null"):
        (tmp_path / "card.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"card.json.*valuate the model again"):
            read_card(tmp_path / "card.json")
