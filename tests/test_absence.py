"""The absence mark: what is marked is read, what is read is filled, and nothing of an absent channel gets through."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunet_missingmod import absence

presences = st.integers(1, 6).flatmap(lambda j: st.lists(st.booleans(), min_size=j, max_size=j))
batches_of_presences = st.tuples(st.integers(1, 3), st.integers(1, 5)).flatmap(
    lambda bj: st.lists(st.lists(st.booleans(), min_size=bj[1], max_size=bj[1]), min_size=bj[0], max_size=bj[0])
)


def random_batch(present, dims=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(present), len(present[0]), *[4] * dims, generator=generator)


@given(presences)
def test_a_marked_case_reads_as_it_was_marked(present):
    case = np.random.default_rng(0).normal(size=(len(present), 3, 4, 5)).astype(np.float32)
    kept = case.copy()
    absence.mark_case(case, present)
    np.testing.assert_array_equal(absence.read_case(case), present)
    np.testing.assert_array_equal(case[present], kept[present])


@given(presences)
def test_a_filled_case_is_a_copy_with_the_value_in_absent_channels(present):
    case = np.random.default_rng(0).normal(size=(len(present), 3, 4, 5)).astype(np.float32)
    absence.mark_case(case, present)
    filled = absence.fill_case(case, present, value=2.0)
    assert (filled[~np.array(present)] == 2).all()
    np.testing.assert_array_equal(filled[present], case[present])
    np.testing.assert_array_equal(absence.read_case(case), present)


@given(batches_of_presences, st.sampled_from([1, 2, 3]))
def test_a_marked_batch_reads_as_it_was_marked(present, dims):
    batch = random_batch(present, dims)
    absence.mark(batch, torch.tensor(present))
    np.testing.assert_array_equal(absence.read(batch), present)
    np.testing.assert_array_equal(absence.read_uniform(batch), present)


@given(batches_of_presences)
def test_channels_behind_the_modalities_are_left_alone(present):
    batch = torch.cat([random_batch(present), torch.ones(len(present), 2, 4, 4, 4)], dim=1)
    absence.mark(batch, torch.tensor(present))
    assert (batch[:, -2:] == 1).all()
    assert absence.read(batch)[:, -2:].all()


@given(batches_of_presences)
def test_fill_replaces_whole_channels_and_keeps_the_others_bit_for_bit(present):
    batch = random_batch(present)
    marked = batch.clone()
    absence.mark(marked, torch.tensor(present))
    filled = absence.fill(marked)
    there = torch.tensor(present)
    assert torch.equal(filled[there], batch[there])
    assert (filled[~there] == 0).all()


@given(st.integers(0, 63))
def test_one_voxel_of_the_mark_is_enough_after_padding_and_the_rest_does_not_get_through(position):
    batch = torch.full((1, 2, 4, 4, 4), 5.0)
    batch.view(1, 2, 64)[0, 1, position] = absence.ABSENT
    assert absence.read(batch).tolist() == [[True, False]]
    assert (absence.fill(batch)[0, 1] == 0).all()


def test_presence_survives_zero_padding_mirroring_and_patching():
    batch = torch.randn(1, 3, 4, 4, 4)
    absence.mark(batch, torch.tensor([[True, False, True]]))
    padded = torch.nn.functional.pad(batch, (3, 3, 3, 3, 3, 3))
    for seen in (padded, padded.flip(2, 4), padded[..., 2:8, 2:8, 2:8]):
        assert absence.read(seen).tolist() == [[True, False, True]]


def test_absent_content_receives_no_gradient_and_no_nan_reaches_the_others():
    batch = torch.randn(2, 2, 3, 3, 3)
    absence.mark(batch, torch.tensor([[True, False], [False, True]]))
    batch.requires_grad_()
    absence.fill(batch).square().sum().backward()
    assert (batch.grad[0, 1] == 0).all()
    assert (batch.grad[1, 0] == 0).all()
    torch.testing.assert_close(batch.grad[0, 0], 2 * batch[0, 0])


def test_subset_is_restricted_to_what_each_case_has_and_never_to_nothing():
    present = np.array([[True, True, False], [False, False, True]])
    kept = absence.restrict(present, np.array([True, False, False]))
    np.testing.assert_array_equal(kept, [[True, False, False], [False, False, True]])


@given(batches_of_presences, st.randoms(use_true_random=False))
def test_the_restriction_is_the_intersection_where_there_is_one(present, random):
    present = np.array(present)
    each = np.array([[random.random() < 0.5 for _ in row] for row in present])
    for subset in (each, each[0]):
        kept = absence.restrict(present, subset)
        for row, has, wanted in zip(kept, present, np.broadcast_to(subset, present.shape), strict=True):
            np.testing.assert_array_equal(row, has & wanted if (has & wanted).any() else has)
        from_torch = absence.restrict(torch.from_numpy(present), torch.from_numpy(subset))
        np.testing.assert_array_equal(from_torch.numpy(), kept)
