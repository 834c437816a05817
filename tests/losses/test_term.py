"""Every term of the choices: built from them, a finite scalar of a step, nothing of absent modalities in it."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn
from torch.nn import functional

from nnunet_missingmod.choices import KEYS, TERMS
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import FullView, PartnerView, Setting, Step, StepTerm
from nnunet_missingmod.networks.backbone import Separately
from nnunet_missingmod.networks.decoders import design_of
from nnunet_missingmod.plans_block import resolve

B, J, K = 2, 3, 4
CHANNELS = (5, 6, 7)
BY_NAME = {key.name: key for key in KEYS}
# Each value of each switch that turns its term on.
USES = [(term, value) for term in TERMS for value in (BY_NAME[term.switch].range.values or (True,))
        if term.is_on({term.switch: value})]  # fmt: skip


def build(term, value, head, **more):
    module, name = term.loss.split(":")
    kind = getattr(import_module(f"nnunet_missingmod.losses.{module}"), name)
    backbone = PlainConvUNet(
        1, 3, CHANNELS, nn.Conv2d, 3, (1, 2, 2), 1, K, 1, norm_op=nn.InstanceNorm2d, nonlin=nn.LeakyReLU
    )
    design = design_of(backbone.decoder, backbone.encoder, CHANNELS)
    setting = Setting(
        ("FLAIR", "T1", "T2"), CHANNELS, dimensions=2, head=head, decoder=design, segmentation=cross_entropy,
        supervised=cross_entropy, num_outputs=K,
    )  # fmt: skip
    torch.manual_seed(0)
    return kind.from_choices(resolve({term.switch: value, **more}), setting)


def cross_entropy(logits, target):
    if target.shape == logits.shape:
        return functional.binary_cross_entropy_with_logits(logits, target.float())
    return functional.cross_entropy(logits, target[:, 0])


def make_step(head):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    present = torch.tensor([[True, False, True], [True, True, True]])
    encoder = {level: random(B, channels, 8 >> level, 8 >> level) for level, channels in enumerate(CHANNELS)}
    taught = {level: random(*f.shape) for level, f in encoder.items()}
    decoded = random(B, CHANNELS[0], 8, 8)
    full = FullView(random(B, K, 8, 8), taught, present.all(1), decoded=decoded)
    own = FullView(None, full.encoder, ~present.all(1))
    target = torch.randint(0, K, (B, 1, 8, 8), generator=generator)
    if head.kind == "regions":
        target = torch.randint(0, 2, (B, K, 8, 8), generator=generator).bool()
    latents = random(B, J, 2, 8, 8)
    levels = [random(B, J, channels, 8 >> level, 8 >> level) for level, channels in enumerate(CHANNELS)]
    # The first sample has a modality that was dropped, the second one that it lacks.
    encoded = torch.tensor([[True, True, True], [True, True, False]])
    present = present & encoded
    separately = Separately(
        levels,
        encoded,
        bottleneck=random(*levels[-1].shape),
        specific=random(*levels[-1].shape),
        images=random(B, J, 8, 8),
        maps=[random(B, K, 8 >> level, 8 >> level) for level in range(3)],
        gaussians=[(random(*level.shape), random(*level.shape)) for level in levels],
    )
    fused = [random(B, channels, 8 >> level, 8 >> level) for level, channels in enumerate(CHANNELS)]
    logits = random(B, K, 8, 8)
    others = {level: random(*feature.shape) for level, feature in encoder.items()}
    partner = PartnerView(
        logits, logits, others, [random(*level.shape) for level in fused], random(*latents.shape), encoded
    )
    return Step(random(B, K, 8, 8), target, head, present, latents, encoder, full, own, separately, fused, [target],
                offers=random(B, J, J, 3, 8, 8), decoded=random(B, CHANNELS[0], 8, 8), partner=partner)  # fmt: skip


def tensors_of(separately):
    """Everything in it that a term may learn from."""
    gaussians = [part for level in separately.gaussians for part in level]
    return [
        *separately.levels,
        separately.bottleneck,
        separately.specific,
        separately.images,
        *separately.maps,
        *gaussians,
    ]


@pytest.mark.parametrize("head", [Head("softmax"), Head("regions")], ids=lambda head: head.kind)
@pytest.mark.parametrize(("term", "value"), USES, ids=lambda each: getattr(each, "name", each))
def test_a_term_is_a_finite_scalar_and_has_gradients(term, value, head):
    step = make_step(head)
    leaves = [
        step.logits,
        step.latents,
        *step.encoder.values(),
        *step.fused,
        step.offers,
        step.decoded,
        step.partner.logits,
        step.partner.latents,
        *tensors_of(step.separately),
    ]
    for leaf in leaves:
        leaf.requires_grad_()
    built = build(term, value, head)
    result = built.of_step(step)
    assert result.shape == ()
    assert torch.isfinite(result)
    gradients = torch.autograd.grad(result, leaves, allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    assert all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients)
    assert set(built.levels) <= set(step.encoder)


@pytest.mark.parametrize(("term", "value"), USES, ids=lambda each: getattr(each, "name", each))
def test_half_precision_is_computed_in_float32(term, value):
    step = make_step(Head("softmax"))
    bottleneck = step.separately.bottleneck.bfloat16()
    half = step._replace(
        logits=step.logits.bfloat16(),
        latents=step.latents.bfloat16(),
        separately=step.separately._replace(bottleneck=bottleneck),
    )
    widened = half._replace(
        logits=half.logits.float(),
        latents=half.latents.float(),
        separately=half.separately._replace(bottleneck=bottleneck.float()),
    )
    result = build(term, value, step.head).of_step(half)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, build(term, value, step.head).of_step(widened), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_each_kind_of_a_term_has_a_value_of_its_own(term):
    head = Head("softmax")
    values = []
    for value in (value for each, value in USES if each is term):
        torch.manual_seed(0)
        # At alpha = gamma = 2 both Hölder divergences are that of Cauchy and Schwarz.
        built = build(term, value, head, divergence_alpha=1.5)
        values.append(float(built.of_step(make_step(head)).detach()))
    assert len(set(values)) == len(values)


@pytest.mark.parametrize(("term", "value"), USES, ids=lambda each: getattr(each, "name", each))
def test_the_latent_of_an_absent_modality_moves_nothing_and_gets_no_gradient(term, value):
    step = make_step(Head("softmax"))
    step.latents.requires_grad_()
    other = step.latents.detach().clone()
    other[~step.present] = torch.nan
    result = build(term, value, step.head).of_step(step)
    assert torch.equal(result, build(term, value, step.head).of_step(step._replace(latents=other)))
    (gradient,) = torch.autograd.grad(result + 0 * step.latents.sum(), [step.latents])
    assert torch.equal(gradient[~step.present], torch.zeros_like(gradient[~step.present]))


@pytest.mark.parametrize(("term", "value"), USES, ids=lambda each: getattr(each, "name", each))
def test_a_term_that_says_it_does_not_depend_on_the_subset_uses_neither_logits_nor_levels(term, value):
    step = make_step(Head("softmax"))
    built = build(term, value, step.head)
    if built.once_per_step:
        assert built.levels == ()
        assert torch.equal(
            build(term, value, step.head).of_step(step),
            build(term, value, step.head).of_step(step._replace(logits=step.logits + 1)),
        )


@pytest.mark.parametrize(("term", "value"), USES, ids=lambda each: getattr(each, "name", each))
def test_features_of_a_modality_that_was_not_encoded_move_nothing_and_get_no_gradient(term, value):
    step = make_step(Head("softmax"))
    was_not = ~step.separately.encoded
    given = step.separately
    leaves = [leaf.requires_grad_() for leaf in tensors_of(given)]

    def without(values):
        values = values.detach().clone()
        values[was_not] = torch.nan
        return values

    separately = given._replace(
        levels=[without(level) for level in given.levels],
        bottleneck=without(given.bottleneck),
        specific=without(given.specific),
        images=without(given.images),
        gaussians=[(without(mean), without(log_variance)) for mean, log_variance in given.gaussians],
    )
    result = build(term, value, step.head).of_step(step)
    assert torch.equal(result, build(term, value, step.head).of_step(step._replace(separately=separately)))
    gradients = torch.autograd.grad(result + 0 * sum(leaf.sum() for leaf in leaves), leaves)
    of_modalities = [gradient for gradient in gradients if gradient.shape[:2] == was_not.shape]
    assert len(of_modalities) == len(leaves) - len(given.maps)
    assert all((gradient[was_not] == 0).all() for gradient in of_modalities)


def test_a_term_must_say_how_it_is_built_and_computed():
    with pytest.raises(NotImplementedError):
        StepTerm.from_choices({}, None)
    with pytest.raises(NotImplementedError):
        StepTerm().of_step(None)
