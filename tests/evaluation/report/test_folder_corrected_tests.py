"""A test of a report has one corrected p value and one star, in whichever table it is shown."""

from __future__ import annotations

import csv
import re

import pytest
from evaluation.evaluation_rows import BRATS_NAMES, random_rows, row

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS, METRICS
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.report.folder import MEAN_OF_REGIONS, write_report
from nnunet_missingmod.evaluation.statistics import holm
from nnunet_missingmod.modalities import all_subsets

QUICK = Bootstrap(resamples=100)
REGIONS = ("WT", "TC", "ET")
PAIRS = [("theirs", "ours"), ("third", "ours")]
COLUMNS = {
    column.heading: frozenset(column.subsets)
    for columns in (subset_columns(BRATS_NAMES), count_columns(BRATS_NAMES))
    for column in columns
}


def read(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report in which some tests are significant in a small family and not in a large one."""
    folder = tmp_path_factory.mktemp("report")
    rows = random_rows(models=("ours", "theirs", "third"), cases=10, regions=REGIONS)
    write_report(rows, folder, modalities=BRATS_NAMES, pairs=PAIRS, bootstrap=QUICK)
    return folder


def p_by_table(folder, metric):
    """Return {(region, difference, subsets): {table: corrected p}} of the tables in CSV."""
    found = {}
    for name in ("by_subset", "by_count"):
        for line in read(folder / "tables" / f"{metric}_{name}.csv"):
            for heading, subsets in COLUMNS.items():
                p = line.get(f"{heading} p Holm")
                if p:
                    found.setdefault((line["region"], line["model"], subsets), {})[name, heading] = float(p)
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_a_column_of_the_same_subsets_has_the_same_corrected_p_in_all_tables(folder, metric):
    found = p_by_table(folder, metric)
    assert len(found) == 4 * 2 * (15 + 4)  # regions and their mean, pairs, subsets and averages
    assert all(len(set(of_tables.values())) == 1 for of_tables in found.values())
    everything = frozenset(all_subsets(4))
    for region in (*REGIONS, MEAN_OF_REGIONS):
        twice = found[region, "theirs − ours", frozenset([(0, 1, 2, 3)])]
        assert set(twice) == {("by_subset", "FLAIR+T1+T1ce+T2"), ("by_count", "4 of 4")}
        assert set(found[region, "theirs − ours", everything]) == {("by_subset", "average"), ("by_count", "average")}
    listed = {
        (line["region"], f"{line['model']} − {line['baseline']}", COLUMNS[line["subset"]]): float(line["p_holm"])
        for line in read(folder / "tables" / "comparisons.csv")
        if line["metric"] == metric
    }
    assert listed == {key: next(iter(of_tables.values())) for key, of_tables in found.items()}


def test_every_test_is_in_one_family_and_corrected_for_its_number(folder):
    lines = [line for line in read(folder / "tables" / "comparisons.csv") if line["metric"] == "dice"]
    families = {}
    for line in lines:
        key = line["region"], COLUMNS[line["subset"]]
        families.setdefault((line["model"], line["family"]), {})[key] = (float(line["p"]), float(line["p_holm"]))
        families[line["model"], line["family"]].setdefault("tests", set()).add(int(line["tests"]))
    sizes = {
        "single subsets in single regions": 15 * 3,
        "averages over subsets in single regions": 4 * 3,
        "single subsets in averages over regions": 15,
        "averages over subsets in averages over regions": 4,
    }
    assert set(families) == {(model, family) for model, _ in PAIRS for family in sizes}
    for (_, family), tests in families.items():
        assert tests.pop("tests") == {sizes[family]}
        assert len(tests) == sizes[family]
        corrected = holm([p for p, _ in tests.values()])
        assert [p_holm for _, p_holm in tests.values()] == pytest.approx(corrected)


def stars_in_markdown(text, columns):
    """Return {(region, difference, subsets): starred} of a table with a line per region and model."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    body = [line for line in lines[2:] if "−" in line[1]]
    return {
        (line[0], line[1], frozenset(column.subsets)): cell.endswith("\\*")
        for line in body
        for column, cell in zip(columns, line[2:], strict=True)
    }


def stars_in_upright_markdown(text, columns):
    lines = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    heads = [head.strip() for head in lines[0][4:]]
    found = {}
    for column, line in zip(columns, lines[2:], strict=True):
        for head, cell in zip(heads, line[4:], strict=True):
            if "−" in head:
                region = next(name for name in (*REGIONS, MEAN_OF_REGIONS) if head.startswith(name))
                key = region, head.removeprefix(region).strip(), frozenset(column.subsets)
                found[key] = cell.strip().endswith("\\*")
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_a_star_stands_in_all_tables_or_in_none(folder, metric):
    tables = folder / "tables"
    by_count = stars_in_markdown(
        (tables / f"{metric}_by_count.md").read_text(encoding="utf-8"), count_columns(BRATS_NAMES)
    )
    by_subset = stars_in_upright_markdown(
        (tables / f"{metric}_by_subset.md").read_text(encoding="utf-8"), subset_columns(BRATS_NAMES)
    )
    shared = set(by_count) & set(by_subset)
    assert len(shared) == 4 * 2 * 2  # the full subset and the average of every region and pair
    assert {key: by_count[key] for key in shared} == {key: by_subset[key] for key in shared}
    expected = {key: min(of_tables.values()) < 0.05 for key, of_tables in p_by_table(folder, metric).items()}
    assert {**by_count, **by_subset} == expected
    for name, stars in (("by_subset", by_subset), ("by_count", by_count)):
        body = (tables / f"{metric}_{name}.tex").read_text(encoding="utf-8").split("\\midrule", 1)[1]
        assert len(re.findall(r"\*(?=[ }])", body)) == sum(stars.values())


def test_the_page_says_the_families_and_shows_each_p_once_per_name(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "are four families, and a column of the same subsets is one test in all tables" in " ".join(text.split())
    lines = re.findall(r"<tr><th[^>]*>WT</th><th[^>]*>(FLAIR\+T1\+T1ce\+T2|4 of 4)</th>(.*?)</tr>", text)
    assert len(lines) == 2 * 2  # names, pairs
    of_pair = [dict(lines[:2]), dict(lines[2:])]
    assert all(each["4 of 4"] == each["FLAIR+T1+T1ce+T2"] for each in of_pair)
    assert "45 (single subsets in single regions)" in lines[0][1]


def test_a_modality_called_as_a_column_is_not_mistaken_for_it(tmp_path):
    names = ("average", "1 of 2")
    rows = random_rows(models=("ours", "theirs"), cases=8, regions=("ET",), modalities=names)
    values = pool(rows, modalities=names)
    write_report(rows, tmp_path, modalities=names, pairs=[("ours", "theirs")], bootstrap=QUICK)
    lines = [each for each in read(tmp_path / "tables" / "comparisons.csv") if each["metric"] == "dice"]
    of_average = [float(line["difference"]) for line in lines if line["subset"] == "average"]
    mean = values.difference("ours", "theirs", ["ET"], [(0,)]).mean()
    overall = values.difference("ours", "theirs", ["ET"], [(0,), (1,), (0, 1)]).mean()
    assert of_average == pytest.approx([mean, overall])


def test_the_other_convention_has_the_same_tests_where_no_mask_is_empty(tmp_path):
    rows = random_rows(models=("ours", "theirs"), cases=8, regions=("WT", "ET"), modalities=("A", "B"))
    page = write_report(
        rows, tmp_path, modalities=("A", "B"), pairs=[("ours", "theirs")], bootstrap=QUICK, convention=BRATS
    )
    text = page.read_text(encoding="utf-8")
    of_wt = text[text.index('<table id="dice-wt"') :]
    of_other = text[text.index("In the convention 'nnunet'") :]
    for name in ("1 of 2", "2 of 2", "average"):
        first, second = (re.search(rf">{name}</th>(.*?)</tr>", part)[1] for part in (of_wt, of_other))
        # Means with the marks of their tests, and intervals; who leads is marked in the first table alone.
        assert re.findall(r"<(?:span|small)>([^<]+)", first) == re.findall(r"<(?:span|small)>([^<]+)", second)
        assert len(re.findall(r"<(?:span|small)>([^<]+)", first)) == 3 * 2


def test_one_subset_is_one_test_however_often_it_is_shown(tmp_path):
    rows = [
        row(0.5 + 0.01 * case + shift, model=model, case=f"c{case}", subset="A+B")
        for model, shift in (("ours", 0.1), ("theirs", 0.0))
        for case in range(6)
    ]
    write_report(rows, tmp_path, modalities=("A", "B"), pairs=[("ours", "theirs")], bootstrap=QUICK)
    lines = [each for each in read(tmp_path / "tables" / "comparisons.csv") if each["metric"] == "dice"]
    assert [(line["subset"], line["tests"]) for line in lines] == [("A+B", "1"), ("2 of 2", "1")]
    assert {line["p"] for line in lines} == {line["p_holm"] for line in lines} == {"0.03125"}
