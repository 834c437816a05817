"""Modality dropout never leaves nothing, never adds, has the distribution it promises, and repeats itself."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_missingmod.training.subsets import ModalityDropout, dropout_chance, sample_bernoulli

SCHEMES = ("uniform", "uniform_count", "bernoulli")
NUM_DRAWS = 20_000


def presence_with_something(num_cases, num_modalities):
    row = st.lists(st.booleans(), min_size=num_modalities, max_size=num_modalities).filter(any)
    return st.lists(row, min_size=num_cases, max_size=num_cases)


def expected_probability(scheme, subset, num_modalities, drop):
    """Of a subset, written out from the definition of each scheme."""
    size = sum(subset)
    subsets = [s for s in product([0, 1], repeat=num_modalities) if any(s)]
    if scheme == "uniform":
        return 1 / len(subsets)
    if scheme == "uniform_count":
        return 1 / num_modalities / sum(sum(s) == size for s in subsets)
    weights = {s: (1 - drop) ** sum(s) * drop ** (num_modalities - sum(s)) for s in subsets}
    return weights[subset] / sum(weights.values())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_frequencies_are_those_of_the_definition(scheme):
    drop = 0.3
    dropout = ModalityDropout(scheme, drop_probability=drop, seed=1)
    kept = dropout.sample(np.ones((NUM_DRAWS, 3), dtype=bool))
    counts = Counter(tuple(int(k) for k in row) for row in kept)
    for subset in (s for s in product([0, 1], repeat=3) if any(s)):
        expected = expected_probability(scheme, subset, 3, drop)
        tolerance = 4 * np.sqrt(expected * (1 - expected) / NUM_DRAWS)
        assert abs(counts[subset] / NUM_DRAWS - expected) < tolerance, subset


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(lambda shape: presence_with_something(*shape)),
    st.sampled_from(SCHEMES),
    st.floats(0, 0.95),
    st.integers(0, 2**32),
)
def test_kept_is_a_non_empty_subset_of_present(present, scheme, drop, seed):
    present = np.array(present)
    kept = ModalityDropout(scheme, drop_probability=drop, seed=seed).sample(present)
    assert kept.dtype == bool
    assert kept.any(axis=1).all()
    assert not (kept & ~present).any()


@given(st.integers(0, 1000), st.integers(0, 7), st.integers(0, 500), st.sampled_from(SCHEMES))
def test_an_epochs_draws_depend_on_seed_rank_and_epoch_alone(seed, rank, epoch, scheme):
    present = np.ones((6, 4), dtype=bool)
    fresh = ModalityDropout(scheme, seed=seed, rank=rank)
    used = ModalityDropout(scheme, seed=seed, rank=rank)
    used.sample(present)
    for dropout in (fresh, used):
        dropout.start_epoch(epoch)
    np.testing.assert_array_equal(fresh.sample(present), used.sample(present))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ranks_and_epochs_draw_their_own(scheme):
    present = np.ones((50, 4), dtype=bool)
    rank_0, rank_1 = ModalityDropout(scheme, rank=0), ModalityDropout(scheme, rank=1)
    first = rank_0.sample(present)
    assert (first != rank_1.sample(present)).any()
    rank_0.start_epoch(1)
    assert (first != rank_0.sample(present)).any()


def test_single_modality_is_always_kept():
    assert ModalityDropout("bernoulli", drop_probability=0.9).sample(np.ones((20, 1), dtype=bool)).all()


def test_probabilities_close_to_one_are_drawn_from_in_bounded_time():
    drop = np.array([1 - 1e-9, 1 - 3e-9, 1 - 1e-15])
    rng = np.random.default_rng(0)
    kept = np.stack([sample_bernoulli(3, rng, drop_probability=drop) for _ in range(400)])
    assert (kept.sum(1) == 1).all()
    # The one that is kept is each with a probability in proportion to 1 - p.
    assert kept.mean(0) == pytest.approx([0.25, 0.75, 0], abs=0.08)
    assert sample_bernoulli(1, rng, drop_probability=np.nextafter(1, 0)).all()


def test_more_modalities_than_bits_of_a_byte():
    kept = ModalityDropout("uniform").sample(np.ones((200, 20), dtype=bool))
    assert kept.any(axis=1).all()
    assert kept.any(axis=0).all()


def test_uniform_draws_are_those_of_earlier_versions():
    kept = ModalityDropout("uniform", seed=3).sample(np.ones((6, 4), dtype=bool))
    numbers = np.random.default_rng([3, 0, 0])
    drawn = [int(numbers.integers(1, 16)) for _ in range(6)]
    np.testing.assert_array_equal(kept, [[bool(number >> channel & 1) for channel in range(4)] for number in drawn])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", [50, 62, 63, 64, 100])
def test_more_modalities_than_bits_of_a_number(scheme, count):
    kept = ModalityDropout(scheme).sample(np.ones((400, count), dtype=bool))
    assert kept.any(axis=1).all()
    assert np.all(np.abs(kept.mean(axis=0) - 0.5) < 0.12)


@pytest.mark.parametrize("drop", [-0.1, 1.0, float("nan")])
def test_probability_outside_its_range_is_refused(drop):
    with pytest.raises(ValueError, match="drop probability"):
        ModalityDropout("bernoulli", drop_probability=drop)


def test_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="'unifrom'.*uniform, uniform_count, bernoulli"):
        ModalityDropout("unifrom")


def test_case_without_any_modality_is_refused():
    with pytest.raises(ValueError, match="Case 1 of the batch"):
        ModalityDropout("uniform").sample(np.array([[True, False], [False, False]]))


@pytest.mark.parametrize(
    ("progress", "start", "end", "chance"),
    [
        (0, 0, 0, 1),
        (0.5, 0, 0, 1),
        (0, 0, 0.5, 0),
        (0.25, 0, 0.5, 0.5),
        (0.5, 0, 0.5, 1),
        (0.9, 0, 0.5, 1),
        (0.1, 0.2, 0.6, 0),
        (0.4, 0.2, 0.6, 0.5),
        (0.59, 0.6, 0.6, 0),
        (0.6, 0.6, 0.6, 1),
    ],
)
def test_the_chance_of_dropout_grows_between_two_shares_of_the_training(progress, start, end, chance):
    assert dropout_chance(progress, start=start, end=end) == pytest.approx(chance)


@pytest.mark.parametrize("chance", [0.0, 0.3])
def test_a_case_that_is_not_dropped_from_keeps_what_it_has(chance):
    dropout = ModalityDropout("uniform", seed=1)
    dropout.start_epoch(3, chance=chance)
    present = np.ones((NUM_DRAWS, 3), dtype=bool)
    present[:, 0] = False
    kept = dropout.sample(present)
    assert not (kept & ~present).any()
    # Of those that are dropped from, one of the three subsets keeps both.
    assert (kept.sum(axis=1) == 2).mean() == pytest.approx(1 - chance * 2 / 3, abs=0.02)


def test_without_a_curriculum_the_draws_are_those_of_before():
    one, other = ModalityDropout("uniform", seed=5), ModalityDropout("uniform", seed=5)
    one.start_epoch(2)
    other.start_epoch(2, chance=1.0)
    present = np.ones((50, 4), dtype=bool)
    kept = one.sample(present)
    assert np.array_equal(kept, other.sample(present))
    # Drawn one integer per case from the generator of (seed, rank, epoch), and nothing else.
    rng = np.random.default_rng([5, 0, 2])
    drawn = [int(rng.integers(1, 16)) for _ in range(50)]
    assert kept.tolist() == [[bool(index >> j & 1) for j in range(4)] for index in drawn]
