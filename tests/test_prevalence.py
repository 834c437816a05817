"""Prevalence files: what is read is what was written; what is no such file is refused with file, line and fix."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.prevalence import PrevalenceError, is_prevalence_file, read_prevalence, write_prevalence

NAMES = ("T2", "DWI", "T1+C", "all", "a,b", "-x")


def test_the_file_is_the_table_that_the_documents_show(tmp_path):
    file = tmp_path / "prevalence.csv"
    write_prevalence(file, {(0,): 3, (0, 1): 40, (2,): 3, (): 5}, NAMES)
    assert file.read_bytes() == b"subset,count\nT2+DWI,40\nT2,3\nT1\\+C,3\n"
    assert list(read_prevalence(file, NAMES).items()) == [((0,), 3), ((2,), 3), ((0, 1), 40)]


def test_names_are_in_any_order_and_case_and_a_spreadsheet_may_have_saved_the_file(tmp_path):
    file = tmp_path / "p.csv"
    file.write_bytes("\ufeffSubset, Count\r\ndwi+t2,0.25\r\n\r\n,\r\n t2 ,1e2\r\nDWI,0\r\n".encode())
    assert read_prevalence(file, NAMES) == {(0,): 100, (1,): 0, (0, 1): 0.25}


def test_subsets_may_be_written_as_other_programs_write_them(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("subset,count\nt2_dwi,1\n010000,2\nDWI-T1+C,3\n")
    assert read_prevalence(file, NAMES) == {(0, 1): 1, (1,): 2, (1, 2): 3}


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(all_subsets(6)), st.integers(0, 10**9) | st.floats(0, 1e300), min_size=1))
def test_what_was_written_is_read_whatever_the_modalities_are_called(tmp_path_factory, counts):
    file = tmp_path_factory.mktemp("p") / "p.csv"
    write_prevalence(file, counts, NAMES)
    if any(counts.values()):
        assert read_prevalence(file, NAMES) == counts
    else:
        with pytest.raises(PrevalenceError, match="every count is 0"):
            read_prevalence(file, NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"p\.csv is empty: save it as a table of commas"),
        ("subset;count\nT2;3\n", r"p\.csv, line 1: the header is 'subset;count'"),
        ("T2,3\n", "line 1: the header is 'T2,3'"),
        ("subset,count\n", "there is no line below the header"),
        ("subset,count\nT2,0\n", "every count is 0. Give at least one a count above 0"),
        ("subset,count\nT2,3\nT9,1\n", r"p\.csv, line 3: 'T9' is no modality of T2, DWI, .*; did you mean"),
        ("subset,count\nT2+,3\n", "line 2: In 'T2\\+' the name of a modality is empty"),
        ("subset,count\nfull,3\n", "line 2: 'full' is no modality"),
        (
            "subset,count\nT2+DWI,3\nT2,1\nDWI+t2,4\n",
            r"line 4: T2\+DWI is in line 2 already: leave one line with the sum\.",
        ),
        ("subset,count\nT2,-1\n", "line 2: the count of T2 must be a number of at least 0, got '-1'"),
        ("subset,count\nT2,many\n", "line 2: the count of T2 must be a number of at least 0, got 'many'"),
        ("subset,count\nT2,nan\n", "got 'nan'"),
        ("subset,count\nT2,inf\n", "got 'inf'"),
        ("subset,count\nT2,\n", "got ''"),
        ("subset,count\nT2,0,5\n", "line 2: it has 3 values in the place of subset,count: 'T2,0,5'"),
        ("subset,count\nT2\n", "line 2: it has 1 values"),
        ('subset,count\n"T2,3\n', "line 2: unexpected end of data"),
        (b"subset,count\nT\xff2,3\n", "is no text in UTF-8"),
        (None, r"p\.csv cannot be read: No such file or directory\. Name a prevalence file\."),
    ],
)
def test_what_is_no_prevalence_file_is_refused_with_file_line_and_fix(tmp_path, text, message):
    file = tmp_path / "p.csv"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PrevalenceError, match=message):
        read_prevalence(file, NAMES)


def test_a_folder_is_no_prevalence_file(tmp_path):
    with pytest.raises(PrevalenceError, match="Is a directory"):
        read_prevalence(tmp_path, NAMES)


def test_what_is_read_as_a_prevalence_file_is_known_as_one(tmp_path):
    file = tmp_path / "p.csv"
    for header, is_one in (
        ("subset,count", True),
        (" Subset , COUNT", True),
        ("subset;count", False),
        ("name,count", False),
    ):
        file.write_text(f"{header}\nT2,3\n", encoding="utf-8")
        assert is_prevalence_file(file) is is_one
        if is_one:
            assert read_prevalence(file, ["T2"]) == {(0,): 3}
    assert not is_prevalence_file(tmp_path / "nowhere.csv")
