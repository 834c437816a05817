"""Every question has its section and its file, whatever was scored."""

from __future__ import annotations

import csv

import pytest
from evaluation.evaluation_rows import AB, random_rows, row

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import DICE
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.model_order import ranks
from nnunet_missingmod.evaluation.report.questions import answer_questions
from nnunet_missingmod.evaluation.score_grid import grid_of

QUICK = Bootstrap(resamples=100)
FILES = {
    "power", "order", "ranks", "noninferiority", "monotonicity", "modality_gain", "volumes", "detection",
}  # fmt: skip


def answer(rows, folder, modalities=AB, **more):
    values = pool(rows, modalities=modalities)
    columns = subset_columns(modalities, scored=values.scored)
    groups = {region: (region,) for region in values.regions}
    options = {"pairs": (), "patients": None, "margin": None, **more}
    sections = answer_questions(
        values,
        grid_of(rows, modalities),
        folder,
        columns=columns,
        shown_columns=count_columns(modalities, scored=values.scored) or columns,
        ranks={DICE: ranks(values, columns=columns, bootstrap=QUICK, regions=groups)},
        regions=groups,
        bootstrap=QUICK,
        **options,
    )
    return {section.anchor: section for section in sections}, {path.stem for path in (folder / "tables").glob("*.csv")}


def lines_of(folder, name):
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    rows = random_rows(models=("ours", "theirs"), modalities=AB, cases=5)
    return (*answer(rows, folder, pairs=[("ours", "theirs")], margin=2.0), folder)


def test_every_question_has_a_section_and_a_file(two_models):
    sections, files, folder = two_models
    assert list(sections) == [
        "power", "order", "non-inferiority", "more-is-not-worse", "modality-gain", "volumes", "detection",
    ]  # fmt: skip
    assert files == FILES
    figures = sections["modality-gain"].figures
    assert figures == ("figures/modality_gain_1.png", "figures/modality_gain_2.png")
    assert all((folder / figure).is_file() for figure in figures)
    for section in sections.values():
        assert all(len(line) == len(table.head) for table in section.tables for line in table.body)


def test_files_are_tidy(two_models):
    _, _, folder = two_models
    for name, keys in {
        "ranks": ("metric", "model", "region", "subset"),
        "order": ("better", "other", "region", "subset"),
        "power": ("model", "baseline", "region", "subset"),
        "modality_gain": ("model", "region", "modality", "present", "over"),
        "monotonicity": ("model", "region", "modality"),
        "volumes": ("model", "region", "subset"),
        "detection": ("model", "region", "subset"),
        "noninferiority": ("model", "baseline", "region"),
    }.items():
        lines = lines_of(folder, name)
        assert len({tuple(line[key] for key in keys) for line in lines}) == len(lines) > 0, name
        assert None not in lines[0]
    (line, *_) = lines_of(folder, "noninferiority")
    assert list(line) == [
        "model", "baseline", "region", "difference", "difference_low", "difference_high", "cases", "margin", "verdict",
        "left_out",
    ]  # fmt: skip
    assert float(line["margin"]) == 0.02


def test_one_model_of_one_modality_and_one_case_answers_what_it_can(tmp_path):
    sections, files = answer([row(0.5)], tmp_path, ("A",))
    assert list(sections) == ["power", "volumes", "detection"]
    assert files == {"volumes", "detection"}
    assert sections["detection"].tables[0].body == (("ET", "A", "100.0"),)


def test_scores_that_are_all_undefined_make_sections_too(tmp_path):
    rows = [row(None, model=model, subset=subset) for model in ("ours", "theirs") for subset in ("A", "A+B")]
    sections, _ = answer(rows, tmp_path, pairs=[("ours", "theirs")], margin=1.0)
    assert sections["detection"].tables[0].body == (("ET", "A", "n/a", "n/a"), ("ET", "A+B", "n/a", "n/a"))


def test_of_many_subsets_the_sections_show_some_and_the_files_all(tmp_path):
    names = tuple("ABCDEFG")
    sections, _ = answer(random_rows(modalities=names, cases=2, regions=("ET",)), tmp_path, names)
    assert len(sections["detection"].tables[0].body) == 7 + 7 + 1
    assert len(lines_of(tmp_path, "detection")) == 127
