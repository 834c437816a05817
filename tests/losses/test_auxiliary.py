"""Unimodal segmentation: the sum over modalities of the loss of the samples that have them, on what was encoded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.losses.auxiliary import UnimodalTerm, unimodal_loss
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.networks.backbone import Separately

ENCODED = torch.tensor([[True, False, True], [True, False, False]])


def cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, target[:, 0])


def test_it_is_the_sum_over_modalities_of_the_loss_over_their_samples() -> None:
    logits, target = torch.randn(3, 4, 5, 6), torch.randint(0, 4, (2, 1, 5, 6))
    first = cross_entropy(logits[[0, 2]], target)  # modality 0 of both samples
    third = cross_entropy(logits[[1]], target[:1])  # modality 2 of the first
    loss = unimodal_loss(logits, target, ENCODED, segmentation=cross_entropy)
    torch.testing.assert_close(loss, first + third)


def test_its_gradient_is_that_of_finite_differences() -> None:
    logits = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 2, (2, 1, 3))
    run = lambda logits: unimodal_loss(logits, target, ENCODED, segmentation=cross_entropy)  # noqa: E731
    assert torch.autograd.gradcheck(run, logits)


@pytest.mark.parametrize(
    ("channels", "level", "fix"),
    [((4, 8, 16), 2, "set it to a level from 1 to 1"), ((4, 8), 1, 'set auxiliary to "unimodal"')],
)
def test_a_level_where_no_decoder_ends_is_refused_by_its_key(channels: tuple[int, ...], level: int, fix: str) -> None:
    design = SimpleNamespace(channels=channels, build=lambda level: nn.Identity())
    setting = Setting(("a",), channels, 2, Head("softmax"), decoder=design, segmentation=cross_entropy)
    choices = {"auxiliary": "unimodal_low", "auxiliary_level": level}
    with pytest.raises(
        ValueError, match=f"block of the plans: auxiliary_level is {level}, .*{len(channels)} levels.*{fix}"
    ):
        UnimodalTerm.from_choices(choices, setting)
    assert UnimodalTerm.from_choices({**choices, "auxiliary": "unimodal"}, setting).level == 0


def test_nothing_encoded_costs_nothing_and_keeps_the_graph() -> None:
    logits = torch.randn(0, 2, 3, requires_grad=True)
    nothing = torch.zeros_like(ENCODED)
    loss = unimodal_loss(logits, torch.zeros(2, 1, 3), nothing, segmentation=cross_entropy)
    assert loss == 0
    loss.backward()


def test_content_of_what_was_not_encoded_does_not_matter_and_gets_no_gradient() -> None:
    decoder = nn.Sequential()
    decoder.forward = lambda levels: levels[0]
    term = UnimodalTerm(decoder, 0, cross_entropy)
    level = torch.randn(2, 3, 4, 5, 5, requires_grad=True)
    other = torch.where(ENCODED[..., None, None, None], level, torch.nan)
    targets = [torch.randint(0, 4, (2, 1, 5, 5))]
    steps = [SimpleNamespace(separately=Separately([values], ENCODED), targets=targets) for values in (level, other)]
    value = term.of_step(steps[0])
    assert torch.equal(value, term.of_step(steps[1]))
    value.backward()
    assert (level.grad[~ENCODED] == 0).all()
    assert (level.grad[ENCODED] != 0).any()


@pytest.mark.parametrize("ddp", [True, False])
def test_a_batch_dice_does_not_wait_for_other_processes(*, ddp: bool) -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dc = SimpleNamespace(ddp=ddp)

    loss = Loss()
    term = UnimodalTerm(nn.Identity(), 0, loss)
    assert term.segmentation.dc.ddp is False
    assert loss.dc.ddp is ddp
