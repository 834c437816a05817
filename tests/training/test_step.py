"""The terms of a step against the losses called one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.losses.alignment import AlignmentTerm, anchor_alignment_loss
from nnunet_missingmod.losses.mutual_information import MutualInformationTerm
from nnunet_missingmod.losses.posterior_divergence import DivergenceTerm, posterior_divergence_loss
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import StepTerm
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.backbone import Features, Separately
from nnunet_missingmod.networks.branches import Branches, find_pairs, fuse_subsets
from nnunet_missingmod.training import step
from nnunet_missingmod.training.step import StepLoss, StepTerms, TeacherOutput, mean_values

B, J, K = 2, 3, 4
PRESENT = torch.tensor([[True, True, False], [True, True, True]])
COMPLETE = torch.tensor([False, True])
WEIGHTS = {"segmentation": 1.0, "alignment": 0.5, "divergence": 2.0, "mutual_information": 3.0}


def segmentation(output, target):
    outputs, targets = (output, target) if isinstance(output, list) else ([output], [target])
    return sum(functional.cross_entropy(o, t[:, 0].long()) for o, t in zip(outputs, targets, strict=True))


@pytest.fixture
def student():
    torch.manual_seed(0)
    logits = [torch.randn(B, K, 8, 8, requires_grad=True), torch.randn(B, K, 4, 4, requires_grad=True)]
    encoder = [torch.randn(B, 5, 8, 8, requires_grad=True), torch.randn(B, 6, 4, 4, requires_grad=True)]
    latents = torch.randn(B, J, 2, 8, 8, requires_grad=True)
    return logits, Features(latents, PRESENT, encoder)


@pytest.fixture
def target():
    full = torch.randint(0, K, (B, 1, 8, 8))
    return [full, full[..., ::2, ::2]]


@pytest.fixture
def teacher():
    return TeacherOutput(torch.randn(B, K, 8, 8), [torch.randn(B, 5, 8, 8), torch.randn(B, 6, 4, 4)], COMPLETE)


@pytest.fixture
def branches():
    torch.manual_seed(3)
    pairs = find_pairs(PRESENT, torch.device("cpu"))
    rows = len(pairs.sample)
    logits = [torch.randn(rows, K, 8, 8, requires_grad=True), torch.randn(rows, K, 4, 4, requires_grad=True)]
    encoder = [torch.randn(rows, 5, 8, 8, requires_grad=True), torch.randn(rows, 6, 4, 4, requires_grad=True)]
    return Branches(logits, encoder, torch.randn(B, J, 2, 8, 8, requires_grad=True), pairs)


def make_terms(*, levels=(0, 1), weights=WEIGHTS, source="teacher", divergence=None, head=None, leave_out=()):
    torch.manual_seed(1)
    channels = [(5, 6)[level] for level in levels]
    information = MutualInformationTerm(channels, channels, dimensions=2)
    information.levels, information.source, information.needs_own = levels, source, source == "self"
    given = {
        "alignment": AlignmentTerm("mixture", ["a", "b", "c"], anchor_modality="a"),
        "divergence": divergence or DivergenceTerm("holder_proper", alpha=2.0, gamma=2.0),
        "mutual_information": information,
    }
    given = {name: term for name, term in given.items() if name in weights and name not in leave_out}
    return StepTerms(segmentation, given, weights=weights, head=head or Head("softmax"))


def test_the_terms_are_the_losses_and_the_total_their_weighted_sum(student, target, teacher):
    terms = make_terms()
    total, values = terms(student, target, teacher)
    logits, features = student
    expected = {
        "segmentation": segmentation(logits, target),
        "alignment": anchor_alignment_loss(
            features.latents, PRESENT, anchor="mixture", mixture_weights=terms.alignment.mixture_weights()
        ),
        "divergence": posterior_divergence_loss(
            logits[0][1:], teacher_logits=teacher.logits[1:], kind="holder_proper", alpha=2.0, gamma=2.0
        ),
        "mutual_information": terms.mutual_information(
            [level[1:] for level in features.encoder], [level[1:] for level in teacher.encoder]
        ),
    }
    for name, value in expected.items():
        torch.testing.assert_close(values[name], value.detach())
        assert not values[name].requires_grad
    torch.testing.assert_close(total, sum(WEIGHTS[name] * value for name, value in expected.items()))


def test_only_chosen_levels_take_part(student, target, teacher):
    terms = make_terms(levels=(1,))
    total, _ = terms(student, target, teacher)
    total.backward()
    assert student[1].encoder[0].grad is None
    assert student[1].encoder[1].grad.abs().sum() > 0


class Noting(nn.Module, StepTerm):
    """Keeps the step that it is given."""

    def of_step(self, step):
        self.step = step
        return step.logits.sum() * 0


def test_means_over_many_voxels_of_offers_and_gaussians_are_estimated_on_a_lattice(target):
    logits = torch.randn(B, K, 16, 4, requires_grad=True)
    offers = torch.arange(16.0).reshape(16, 1).expand(B, J, J, 2, 16, 4)
    gaussians = [(part, -part) for part in (offers[:, :, 0], offers[:, :, 0, :, ::2, ::2])]
    separately = Separately([], PRESENT, gaussians=gaussians)
    features = Features(torch.zeros(B, J, 2, 16, 4), PRESENT, [torch.zeros(B, 5, 16, 4)], separately, offers)
    term, starts = Noting(), set()
    terms = StepTerms(lambda *_: logits.sum(), {"noting": term}, weights=dict.fromkeys(("segmentation", "noting"), 1.0),
                      head=Head("softmax"))  # fmt: skip
    for epoch in range(8):
        terms.start_epoch(epoch)
        terms((logits, features), target)
        taken = term.step.offers[0, 0, 0, 0, :, 0].tolist()
        assert taken in ([*range(0, 16, 2)], [*range(1, 16, 2)])
        assert term.step.offers.shape == (B, J, J, 2, 8, 4)  # a short axis is taken whole
        (first, negative), (second, _) = term.step.separately.gaussians
        assert torch.equal(first, -negative)
        assert (first.shape[3:], second.shape[3:]) == ((8, 4), (8, 2))
        starts.add(taken[0])
        again = term.step.offers
        terms.start_epoch(epoch)
        terms((logits, features), target)
        assert torch.equal(again, term.step.offers)
    assert starts == {0.0, 1.0}


@pytest.mark.parametrize("head", ["softmax", "regions"])
def test_ignored_voxels_do_not_count_in_the_divergence(student, teacher, head):
    logits, features = student
    divergence = DivergenceTerm("kullback_leibler", head=head)
    divergence.target = "label"
    weights = {"segmentation": 0.0, "divergence": 1.0}
    terms = make_terms(weights=weights, divergence=divergence, head=Head(head, ignore_label=9))
    terms.segmentation = lambda output, target: output[0].sum()
    ignored = torch.zeros(B, 1, 8, 8, dtype=torch.bool)
    ignored[:, :, :4] = True
    if head == "softmax":
        labels = torch.randint(0, K, (B, 1, 8, 8))
        target = [torch.where(ignored, 9, labels)]
        expected = functional.cross_entropy(logits[0][:, :, 4:], labels[:, 0, 4:])
    else:
        labels = torch.rand(B, K, 8, 8) > 0.5
        target = [torch.cat([labels, ignored], dim=1)]
        expected = functional.binary_cross_entropy_with_logits(logits[0][:, :, 4:], labels[:, :, 4:].float())
    _, values = terms((logits, features), target, None)
    torch.testing.assert_close(values["divergence"], expected.detach())


def test_over_all_subsets_each_term_is_the_mean_of_the_subsets(branches, target, teacher):
    weights = {**WEIGHTS, "alignment": 0.25}
    terms = make_terms(weights=weights, source="self")
    total, values = terms(branches, target, teacher)
    outputs = list(fuse_subsets(branches, all_subsets(J), return_features=True))
    full = [level.detach() for level in outputs[-1].encoder]
    expected = {
        "segmentation": [segmentation(output.logits, target) for output in outputs],
        "divergence": [
            terms.divergence(output.logits[0], teacher_logits=teacher.logits, sample_weights=COMPLETE)
            for output in outputs
        ],
        "mutual_information": [
            terms.mutual_information(output.encoder, full, sample_weights=(output.present != PRESENT).any(1))
            for output in outputs
        ],
    }
    means = {name: torch.stack(list_).mean() for name, list_ in expected.items()}
    means["alignment"] = terms.alignment(branches.latents, PRESENT)
    for name, value in means.items():
        torch.testing.assert_close(values[name], value.detach())
    expected_total = sum(weights[name] * value for name, value in means.items())
    torch.testing.assert_close(total, expected_total)
    ours = torch.autograd.grad(total, [branches.logits[0], branches.latents, *terms.parameters()])
    theirs = torch.autograd.grad(expected_total, [branches.logits[0], branches.latents, *terms.parameters()])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_weights_must_name_the_terms():
    with pytest.raises(ValueError, match="There must be a weight for each of"):
        make_terms(leave_out=["divergence"])


def test_the_loss_is_nnunets_own_outside_of_training(student, target):
    loss = StepLoss(segmentation, nn.Module())
    logits, _ = student
    for output, labels in ((logits, target), (tuple(logits), target), (logits[0], target[0])):
        expected = segmentation(list(output) if isinstance(output, tuple) else output, labels)
        assert torch.equal(StepLoss(lambda o, t, e=expected: e, nn.Module())(output, labels), expected)
    assert loss.values == []


def test_a_teachers_output_serves_one_step(student, target, teacher):
    loss = StepLoss(segmentation, make_terms())
    loss.teacher_output = teacher
    loss(student, target)
    assert loss.teacher_output is None
    assert mean_values(loss.values) == {name: pytest.approx(float(v)) for name, v in loss.values[0].items()}


def test_mutual_information_of_large_levels_is_estimated_on_one_lattice_for_both(student, target, teacher, monkeypatch):
    lattice = (slice(1, None, 2), slice(0, None, 2))
    monkeypatch.setattr(step, "draw_lattice", lambda size, rng: lattice)
    terms = make_terms()
    _, values = terms(student, target, teacher)
    expected = terms.mutual_information(
        [level[(..., *lattice)] for level in student[1].encoder],
        [level[(..., *lattice)] for level in teacher.encoder],
        sample_weights=COMPLETE,
    )
    torch.testing.assert_close(values["mutual_information"], expected.detach())


def test_the_lattices_of_an_epoch_are_drawn_anew_at_each_step_and_alike_in_a_continued_training():
    levels = [torch.zeros(1, 1, 32, 32, 32), torch.zeros(1, 1, 16, 16, 16)]
    terms, continued = make_terms(), make_terms()
    drawn = []
    for one in (terms, continued):
        one.start_epoch(3)
        drawn.append([one._draw_lattice(levels) for _ in range(8)])
    assert drawn[0] == drawn[1]
    assert any(drawn[0][0] != other for other in drawn[0])
    terms.start_epoch(4)
    assert [terms._draw_lattice(levels) for _ in range(8)] != drawn[0]
