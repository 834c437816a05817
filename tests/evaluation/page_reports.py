"""Reports of score rows without drawing anything, for the tests of the page."""

from __future__ import annotations

from pathlib import Path

from evaluation.evaluation_rows import AB

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS, DICE, HD95, NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.modality_gap import ModalityGap
from nnunet_missingmod.evaluation.report.leading import further_pairs
from nnunet_missingmod.evaluation.report.page import MetricTables, Report
from nnunet_missingmod.evaluation.report.summary import summarise
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.statistics import compare_pairs

QUICK = Bootstrap(resamples=100, seed=7)


def make_tables(rows, metric=DICE, convention=BRATS, pairs=(("ours", "theirs"),), modalities=AB, bootstrap=QUICK):
    """Tables of each region by subset and by number present, every leading model compared with every other."""
    values = pool(rows, modalities=modalities, metric=metric, convention=convention)
    of_columns = [columns(modalities, scored=values.scored) for columns in (subset_columns, count_columns)]
    by_subset, by_count = (table_of(values, columns, differences=pairs, bootstrap=bootstrap) for columns in of_columns)
    further = compare_pairs(
        values, further_pairs((by_subset, by_count), pairs), columns=sum(of_columns, ()), bootstrap=bootstrap
    )
    return MetricTables(by_subset, by_count, tuple(further))


def summary_of(rows, both, modalities=AB, regions=None, patients=None, bootstrap=QUICK):
    """The summary of tables of Dice."""
    values = pool(rows, modalities=modalities, convention=both.by_subset.convention)
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    return summarise(values, both.by_subset, both.leads, regions=groups, bootstrap=bootstrap, patients=patients)


def make_report(rows, modalities=AB, pairs=(("ours", "theirs"),), metrics=(DICE, HD95), **parts):
    """A report with something in every part; ``parts`` replace some."""
    tables = {metric: make_tables(rows, metric, pairs=pairs, modalities=modalities) for metric in metrics}
    given = {
        "rows": tuple(rows),
        "raw_regions": tuple(dict.fromkeys(each.region for each in rows)),
        "tables": tables,
        "others": {"nnunet": make_tables(rows, convention=NNUNET, pairs=pairs, modalities=modalities).by_count},
        "bootstrap": QUICK,
        "patients": len({each.case for each in rows}),
        "figures": (),
        "gaps": {rows[0].model: ModalityGap(0.123, 0.456, 0.789, 0.55, 0.5)},
        "provenance": {"command": "nnunet_missingmod evaluate", "nnunetv2": "2.8.1"},
        "failures": ("case c9 with A: it is torn",),
        "summary": summary_of(rows, tables[DICE], modalities),
        "folder": Path(),
    }
    return Report(**{**given, **parts})
