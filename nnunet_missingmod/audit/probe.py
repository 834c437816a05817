"""A network as the checks see it: what it is fed for a subset of modalities, and what comes out.

Every check runs the network through a `Probe`, which draws images, puts something into absent channels, and leaves the
network as it was.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.audit.outputs import tensors_of
from nnunet_missingmod.modalities import (
    ALONE,
    FULL,
    LEAVE_ONE_OUT,
    RANDOM,
    Subset,
    all_subsets,
    by_size,
    choose_subsets,
    subset_name,
)

Feed = Callable[[torch.Tensor, torch.Tensor], Any]
NamedFeed = Callable[[Mapping[int, torch.Tensor]], Any]
Content = Literal["reference", "noise", "extreme", "nonfinite"]

NAN, ZERO = "nan", "zero"
_MOST_MODALITIES_IN_FULL = 8
_SAMPLED_SUBSETS = 64
_EXTREME = 1e6
# Other devices than the CPU add up in an order that may change from run to run.
_OF_OTHER_DEVICES = 1e-4
# How far a sample alone may be from the same sample in a batch, whose kernels round differently.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3}
_ROUNDING_OF_HALF = 5e-2


class Probe:
    """A network, the shape of its input, and the way in which it is told what is absent.

    Args:
        network: any module. Its parameters, buffers, gradients and modes are afterwards as they were.
        num_modalities: J.
        input_shape: (X,), (X, Y) or (X, Y, Z), without batch and channels.
        absent: how the network is told what is absent. ``"nan"``: an absent channel has NaN in at least one voxel, and
            ``network(images)`` is called. ``"zero"``: an absent channel is zero, and the network knows nothing of
            absence. Otherwise a function ``(images, present)`` that hands both to the network in whatever way it takes
            them and returns its output; absent channels of ``images`` hold anything. The default is ``named`` for each
            sample where that is given, else ``"nan"``.
        named: for a network that takes the present modalities by name: a function of {channel: (1, 1, *spatial)}, in
            any order, that returns the output.
        extra_channels: E, channels after the J modalities that are never absent (a previous stage's segmentation).
        uses: the channels that the network is meant to use; the others are always absent. By default all.
        nonfinite: whether absent channels may hold NaN and infinity; by default with ``"nan"`` alone.
        names: of the modalities, for messages.
        subsets: those that are checked; by default all of up to 8 modalities, else a seeded sample.
        seed: of everything that is drawn.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        num_modalities: int,
        input_shape: Sequence[int],
        absent: str | Feed | None = None,
        named: NamedFeed | None = None,
        extra_channels: int = 0,
        uses: Sequence[int] | None = None,
        nonfinite: bool | None = None,
        names: Sequence[str] | None = None,
        subsets: Sequence[Subset] | None = None,
        seed: int = 0,
    ) -> None:
        if num_modalities < 1:
            raise ValueError(f"A network has at least one modality, got num_modalities={num_modalities}.")
        if len(input_shape) not in (1, 2, 3) or min(input_shape) < 1:
            raise ValueError(
                f"input_shape is (X,), (X, Y) or (X, Y, Z) without batch and channels, got {tuple(input_shape)}."
            )
        if absent is None:
            absent = NAN if named is None else _sample_by_sample(named, num_modalities)
        if not callable(absent) and absent not in (NAN, ZERO):
            raise ValueError(f'absent is "{NAN}", "{ZERO}" or a function (images, present), got {absent!r}.')
        if extra_channels < 0:
            raise ValueError(f"extra_channels is 0 or more, got {extra_channels}.")
        if named is not None and extra_channels:
            raise ValueError("named hands over modalities alone: give a function as absent for extra_channels, too.")
        self.network = network
        self.num_modalities = num_modalities
        self.input_shape = tuple(int(size) for size in input_shape)
        self.convention = absent if isinstance(absent, str) else "function"
        self.feed: Feed = absent if callable(absent) else lambda images, _present: network(images)
        self.named = named
        self.extra_channels = extra_channels
        self.uses = tuple(range(num_modalities)) if uses is None else tuple(sorted(set(uses)))
        if not self.uses or self.uses[0] < 0 or self.uses[-1] >= num_modalities:
            raise ValueError(f"uses names channels 0..{num_modalities - 1}, got {uses}.")
        self.nonfinite = self.convention == NAN if nonfinite is None else nonfinite
        self.names = tuple(names) if names is not None else tuple(f"m{j}" for j in range(num_modalities))
        if len(self.names) != num_modalities:
            raise ValueError(f"There are {num_modalities} modalities, and names for {len(self.names)}.")
        if len(set(self.names)) != num_modalities:
            raise ValueError(f"names are to tell modalities apart, got {', '.join(self.names)}.")
        self.seed = seed
        self.subsets = _subsets_of(self.uses) if subsets is None else by_size(subsets)
        if not self.subsets or not all(subset and set(subset) <= set(self.uses) for subset in self.subsets):
            raise ValueError(f"subsets are non-empty and of channels {self.uses}, got {subsets}.")
        values = [*network.parameters(), *network.buffers()]
        self.device = next((value.device for value in values), torch.device("cpu"))
        self.dtype = next((value.dtype for value in values if value.is_floating_point()), torch.float32)

    @property
    def incomplete(self) -> list[Subset]:
        """The subsets that lack a modality."""
        return [subset for subset in self.subsets if len(subset) < self.num_modalities]

    @property
    def tolerance(self) -> float:
        """How far two outputs may be apart that should be equal: nothing on a CPU."""
        return 0.0 if self.device.type == "cpu" else _OF_OTHER_DEVICES

    @property
    def rounding(self) -> float:
        """How far outputs may be apart that are computed by kernels for another number of samples."""
        return max(self.tolerance, _ROUNDING.get(self.dtype, _ROUNDING_OF_HALF))

    def bits(self) -> str:
        """Return how equality is meant, for messages."""
        if self.tolerance == 0:
            return "bit for bit"
        return f"within {self.tolerance:g} of the largest value, as {self.device.type} need not be deterministic"

    def name(self, subset: Sequence[int]) -> str:
        """Return a subset in words."""
        return subset_name(subset, self.names) if subset else "no modality"

    def present(self, subsets: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return ``present`` (B, J) of a batch whose samples have these subsets."""
        return absence.present_of(subsets, self.num_modalities).to(self.device)

    def images(self, batch: int, *, case: int = 0) -> torch.Tensor:
        """Return (B, J + E, *spatial) of unit variance; another ``case`` has other images."""
        generator = torch.Generator().manual_seed(1000 * self.seed + case)
        shape = (batch, self.num_modalities + self.extra_channels, *self.input_shape)
        return torch.randn(shape, generator=generator).to(self.device, self.dtype)

    def filled(self, images: torch.Tensor, present: torch.Tensor, content: Content) -> torch.Tensor:
        """Return images (B, J + E, *spatial) whose absent channels hold something else.

        - ``reference``: NaN everywhere by the convention ``"nan"``, else zeros.
        - ``noise``: of unit variance.
        - ``extreme``: the same, but every other voxel is a million times as large.
        - ``nonfinite``: the same as noise, with infinity of both signs and NaN in some voxels.

        By the convention ``"nan"`` one voxel in the middle stays NaN: it is the mark.
        """
        absent = absence.over_voxels(~present, images[:, : self.num_modalities]).expand(-1, -1, *images.shape[2:])
        held = self.images(len(images), case=-1)[:, : self.num_modalities]
        voxels = held.flatten(2)
        if content == "reference":
            voxels.fill_(absence.ABSENT if self.convention == NAN else 0.0)
        if content == "extreme":
            voxels[..., ::2] *= _EXTREME if self.dtype in _ROUNDING else 1e3
        if content == "nonfinite":
            for start, value in enumerate((float("inf"), float("-inf"), float("nan"))):
                voxels[..., start::7] = value
        if self.convention == NAN:
            voxels[..., voxels.shape[-1] // 2] = absence.ABSENT
        result = images.clone()
        result[:, : self.num_modalities] = torch.where(absent, held, images[:, : self.num_modalities])
        return result

    def contents(self) -> list[Content]:
        """Return what is put in place of the reference."""
        if self.convention == ZERO:
            return ["noise"]
        return ["noise", "extreme", *(["nonfinite"] if self.nonfinite else [])]  # type: ignore[list-item]

    def run(
        self,
        images: torch.Tensor,
        present: torch.Tensor,
        *,
        training: bool = False,
        seed: int | None = None,
        restored: bool = True,
    ) -> list[torch.Tensor]:
        """Return the tensors of the network's output, without a graph.

        Args:
            images: as ``filled`` returns them.
            present: (B, J) bool.
            training: the mode of the network.
            seed: of torch, numpy and Python, before the network runs; ``restored=False`` seeds nothing.
            restored: whether buffers are afterwards as before.
        """
        with torch.no_grad(), self.in_mode(training=training), self.buffers_restored() if restored else _nothing():
            if restored:
                seed_everything(self.seed if seed is None else seed)
            return [tensor.detach().clone() for tensor in tensors_of(self.fed(images, present))]

    def fed(self, images: torch.Tensor, present: torch.Tensor) -> Any:
        """Return the network's output for a copy of the images, which it may change in place."""
        return self.feed(images.clone(), present.clone())

    @contextlib.contextmanager
    def in_mode(self, *, training: bool) -> Iterator[None]:
        """Have the network in training or evaluation mode; afterwards each of its modules is in its own again.

        cuDNN is deterministic in the block, without TF32, whose rounding is as large as a leak may be.
        """
        modes = [(module, module.training) for module in self.network.modules()]
        self.network.train(training)
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    @contextlib.contextmanager
    def with_graph(self) -> Iterator[None]:
        """Have every parameter require its gradient in the block, frozen ones too."""
        frozen = [
            parameter
            for parameter in self.network.parameters()
            if not parameter.requires_grad and parameter.is_floating_point() and not parameter.is_inference()
        ]
        try:
            for parameter in frozen:
                parameter.requires_grad_()
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)

    @contextlib.contextmanager
    def buffers_restored(self) -> Iterator[None]:
        """Undo what the block does to buffers, such as running statistics."""
        kept = [
            (module._buffers, name, buffer, None if buffer is None else buffer.detach().clone())
            for module in self.network.modules()
            for name, buffer in module._buffers.items()
        ]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffers, name, buffer, value in kept:
                    buffers[name] = buffer
                    if buffer is not None and value is not None:
                        buffer.copy_(value)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Leave buffers and the random generators of torch, numpy and Python as they were before the block."""
        states = random.getstate(), np.random.get_state()  # noqa: NPY002 - what a network may draw from
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), self.buffers_restored():
            try:
                yield
            finally:
                random.setstate(states[0])
                np.random.set_state(states[1])  # noqa: NPY002


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


def _sample_by_sample(named: NamedFeed, num_modalities: int) -> Feed:
    """Return a function of images and ``present`` that hands the present modalities of each sample over by name."""

    def feed(images: torch.Tensor, present: torch.Tensor) -> list[torch.Tensor]:
        outputs = []
        for image, has in zip(images, present.tolist(), strict=True):
            given = {channel: image[None, channel : channel + 1] for channel in range(num_modalities) if has[channel]}
            outputs.append(tensors_of(named(given)))
        return [torch.cat(parts) for parts in zip(*outputs, strict=True) if parts[0].ndim]

    return feed


def _subsets_of(channels: Sequence[int]) -> list[Subset]:
    count = len(channels)
    if count <= _MOST_MODALITIES_IN_FULL:
        chosen = all_subsets(count)
    else:
        names = [f"m{j}" for j in range(count)]
        chosen = choose_subsets([ALONE, LEAVE_ONE_OUT, FULL, f"{RANDOM}{_SAMPLED_SUBSETS}"], names)
    return [tuple(channels[position] for position in subset) for subset in chosen]


def seed_everything(seed: int) -> None:
    """Seed the generators that a network may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what a network may draw from
