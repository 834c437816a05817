"""The notation of subsets: no name can break it, and many modalities do not make it slow."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest

from nnunet_missingmod.modalities import (
    all_subsets,
    channel_names,
    choose_channel,
    choose_subset,
    choose_subsets,
    split_escaped,
    subset_name,
    unescape,
)

AWKWARD = ("T1+C", "a=b", "back\\slash", "two words", "x,y", "2", "all", "ALONE", "leave-one-out", "full", "random:3")
AWKWARD += ("-x", "--subsets", "+", "\\", "\\+", "=", " padded ", "Ångström", "日本", "٣", "a/b", "{}", "'", '"')


def many(count):
    return tuple(f"phase {channel}" for channel in range(count))


def random_names(rng):
    letters = "aA+=\\ ,-2/:٣é\n"
    made = ("".join(rng.choices(letters, k=rng.randint(1, 5))) for _ in range(rng.randint(1, 7)))
    return channel_names({"channel_names": dict(enumerate(made))})


def test_every_subset_of_any_names_can_be_read_back():
    rng = random.Random(7)
    for _ in range(1500):
        names = random_names(rng)
        subset = tuple(channel for channel in range(len(names)) if rng.random() < 0.5) or (0,)
        assert choose_subsets([subset_name(subset, names)], names) == [subset], names


def test_names_that_look_like_something_else_can_be_read_back():
    for channel in range(len(AWKWARD)):
        assert choose_subsets([subset_name((channel,), AWKWARD)], AWKWARD) == [(channel,)]
    assert choose_subsets([subset_name(range(len(AWKWARD)), AWKWARD)], AWKWARD) == [tuple(range(len(AWKWARD)))]


def test_no_two_subsets_have_one_name():
    names = ("A", "B", "A+B", "\\A", "A\\", "2", "-A")
    assert len({subset_name(subset, names) for subset in all_subsets(len(names))}) == 2 ** len(names) - 1


def test_ordinary_names_are_written_as_ever():
    assert subset_name((0, 1, 2), ("FLAIR", "T1=post", "T2 fat-sat")) == "FLAIR+T1=post+T2 fat-sat"


def test_a_word_that_names_only_an_escaped_modality_is_refused_with_its_spelling():
    with pytest.raises(ValueError, match=r"'T1' is no modality of T2, T1\+C; did you mean T1\\\+C\?"):
        choose_subsets(["T1+C"], ("T2", "T1+C"))


def test_parts_are_split_where_no_backslash_precedes():
    assert split_escaped(r"a\=b=/path=x\y", "=") == [r"a\=b", "/path", r"x\y"]
    assert split_escaped(r"a\\+b", "+") == [r"a\\", "b"]
    assert split_escaped("\\", "+") == ["\\"]
    assert unescape(r"a\=b\\") == "a=b\\"
    assert unescape("end\\") == "end\\"


def test_exactly_the_name_goes_before_upper_or_lower_case():
    names = ("mr", "MR", " MR", "CT")
    assert [choose_channel(name, names) for name in ("mr", "MR", " MR", "ct", "CT ")] == [0, 1, 2, 3, 3]
    with pytest.raises(ValueError, match="'Mr' may be mr or MR"):
        choose_channel("Mr", ("mr", "MR"))
    assert choose_subset(["CT+MR", "mr"], names) == (0, 1, 3)


def test_names_that_occur_twice_get_their_channel():
    assert channel_names({"channel_names": {"0": "MR", "1": "MR", "2": "CT"}}) == ("MR_0", "MR_1", "CT")
    assert channel_names({"channel_names": {"0": "MR", "1": "", "2": "MR"}}) == ("MR_0", "channel_1", "MR_2")
    assert channel_names({"channel_names": {"0": "MR", "1": "mr"}}) == ("MR", "mr")
    rng = random.Random(1)
    for _ in range(300):
        written = [rng.choice(("MR", "MR_0", "MR_1", "MR_0_0", "channel_1", "", " ")) for _ in range(6)]
        names = channel_names({"channel_names": dict(enumerate(written))})
        assert len(set(names)) == 6
        assert all(
            name == old
            for name, old in zip(names, written, strict=True)
            if old.strip() and written.count(old) == 1 and names.count(old) == 1
        )


def test_words_for_many_modalities():
    names = many(4)
    assert choose_subsets(["alone"], names) == [(0,), (1,), (2,), (3,)]
    assert choose_subsets(["Leave-One-Out"], names) == [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]
    assert choose_subsets(["full"], names) == [(0, 1, 2, 3)]
    assert choose_subsets(["full", "alone"], ("only",)) == [(0,)]
    assert choose_subsets(["random:15"], names) == all_subsets(4)


def test_random_subsets_are_the_same_in_every_call_and_among_those_of_more():
    few, more = (choose_subsets([word], many(23)) for word in ("random:20", "random:40"))
    assert few == choose_subsets(["RANDOM:20"], many(23))
    assert len(few) == 20
    assert set(few) < set(more)


@pytest.mark.parametrize("word", ["random:", "random:0", "random:16", "random:x", "random:-1"])
def test_a_number_of_random_subsets_that_there_is_not_is_refused(word):
    with pytest.raises(ValueError, match="random:N is so many of the 15 subsets of 4 modalities, got random:"):
        choose_subsets([word], many(4))


def test_leave_one_out_of_one_modality_is_refused():
    with pytest.raises(ValueError, match="1 to 1 modalities, got leave-one-out"):
        choose_subsets(["leave-one-out"], ("CT",))


@pytest.mark.parametrize(
    ("word", "number"),
    [("all", "8,388,607 subsets, "), ("12", "1,352,078 subsets of 12, "), ("random:200000", "200,000")],
)
def test_more_subsets_than_can_be_listed_are_refused_with_the_words(word, number):
    with pytest.raises(ValueError, match=f"{number}.*alone, leave-one-out, full, random:N, a number"):
        choose_subsets([word], many(23))


@pytest.mark.parametrize("count", [23, 26, 50, 70])
def test_many_modalities_cost_neither_time_nor_memory(count):
    names = many(count)
    started = time.process_time()
    tracemalloc.start()
    found = choose_subsets(["alone", "leave-one-out", "full", "random:50", "2", subset_name((1, 5), names)], names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 2 * count + 51 <= len(found) <= 2 * count + 51 + count * (count - 1) // 2
    assert time.process_time() - started < 1
    assert peak < 5e6


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("T1+T1", "T1 is named twice in 'T1\\+T1'"),
        ("T1+t1", "T1 is named twice"),
        ("", "In '' the name of a modality is empty; they are T1, T2"),
        ("T1+", "In 'T1\\+' the name of a modality is empty"),
        ("T1++T2", "is empty"),
        (" ", "is empty"),
    ],
)
def test_a_modality_is_named_once_and_no_name_is_empty(word, said):
    with pytest.raises(ValueError, match=said):
        choose_subsets([word], ("T1", "T2"))
