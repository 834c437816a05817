"""Count what a training step of each trainer holds at most, at nnU-Net's own size, without a GPU.

    python benchmarks/step_memory.py [--memory-target 8] [--trainers NAME ...]

A step in mixed precision runs on torch's meta device, on which tensors have sizes and no values, and the bytes of all
tensors that exist at a time are added up. What a GPU takes beside tensors (cuDNN's workspaces, the allocator's gaps) is
not there, so the table says how trainers compare rather than what they take. Batches are complete: no other has as many
branches.

nnU-Net's planner estimates memory by convolution outputs; `peak / counted` is the peak for each of them in relation to
stock nnU-Net's. It is near 1 where a trainer fits the memory that its plans were made for. Exit code 1 if a limit is
exceeded.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from models import MEMORY_TARGET, dataset_without_images, make_batch, make_plans, make_trainer
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from nnunet_missingmod.choices import TRAINERS
from nnunet_missingmod.losses import gradient_surgery
from nnunet_missingmod.training import all_subsets_step

META = torch.device("meta")
STOCK, OWN = "ExperimentPlanner", "MissingModPlanner"
REFERENCE = "nnUNetTrainer"
# Plans for the parallel network; every other trainer has stock plans.
WITH_OWN_PLANS = (
    "nnUNetTrainerSharedBackbone",
    "nnUNetTrainerMedMAPTeacherParallel",
    "nnUNetTrainerHolderMIParallel",
    "nnUNetTrainerRDL",
    "nnUNetTrainerGGMD",
    "nnUNetTrainerGGMDLogits",
)
OF_OTHER_PLANS = ("nnUNetTrainerRDLReference",)
GROUPS = ("Baselines", "Methods", "Families", "Pretraining")
LIMITS = dict.fromkeys(("nnUNetTrainerModalityDropout", *WITH_OWN_PLANS), 1.15) | {
    "nnUNetTrainerDeMoSeg": 1.25,
    "nnUNetTrainerUHVED": 2.0,
    "nnUNetTrainerRFNet": 2.2,
    "nnUNetTrainerMMFormer": 2.4,
}


# What autocast has in its lists, as far as trainers use it.
IN_HALF = {
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
    functional.linear,
    torch.matmul,
    torch.mm,
    torch.bmm,
    torch.baddbmm,
    torch.addmm,
    torch.einsum,
    functional.scaled_dot_product_attention,
    Tensor.matmul,
    Tensor.__matmul__,
}
IN_FLOAT32 = {
    functional.cross_entropy,
    functional.nll_loss,
    functional.softmax,
    functional.log_softmax,
    functional.mse_loss,
    functional.l1_loss,
    functional.layer_norm,
    functional.group_norm,
    functional.cosine_similarity,
    functional.normalize,
    torch.softmax,
    torch.log_softmax,
    torch.exp,
    torch.log,
    torch.pow,
    torch.sum,
    Tensor.softmax,
    Tensor.log_softmax,
    Tensor.exp,
    Tensor.log,
    Tensor.pow,
    Tensor.__pow__,
    Tensor.sum,
}


class LiveBytes(TorchDispatchMode):
    """While it is entered, adds up the bytes of all tensors that operations return, while they exist.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and note what it returns."""
        returned = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(returned):
            if isinstance(tensor, Tensor) and tensor.device == META:
                self._note(tensor.untyped_storage())
        return returned

    def _note(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


class Peak(NamedTuple):
    """Bytes that a step holds at most beside parameters, and the convolution outputs that the planner counts."""

    held: int
    counted: int

    @property
    def per_output(self) -> float:
        """Bytes."""
        return self.held / self.counted


class MixedPrecision(TorchFunctionMode):
    """What autocast does on a GPU, and does not do on the meta device: convolutions and products in half precision.

    Attributes:
        enabled: whether it is at work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function on tensors of the type that autocast has for it."""
        dtype = torch.float16 if func in IN_HALF else torch.float32 if func in IN_FLOAT32 else None
        if self.enabled and dtype is not None:
            cast = partial(_cast, dtype=dtype)
            args, kwargs = tree_map_only(Tensor, cast, args), tree_map_only(Tensor, cast, kwargs)
        return func(*args, **(kwargs or {}))

    @contextmanager
    def switched(self, device_type: str, dtype: torch.dtype = torch.float16, *, enabled: bool = True) -> Iterator[None]:
        """Stand in for ``torch.autocast`` on the meta device."""
        assert (device_type, dtype) == (META.type, torch.float16)
        before, self.enabled = self.enabled, enabled
        try:
            yield
        finally:
            self.enabled = before


def _cast(tensor: Tensor, *, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.dtype in (torch.float16, torch.float32) else tensor


@contextmanager
def on_meta() -> Iterator[MixedPrecision]:
    """Let trainers step on the meta device: nothing is compiled, and what switches autocast off does so."""
    autocast, mixed = torch.autocast, MixedPrecision()
    # Surgery waits for the products of the subsets' gradients, which have no values here.
    equal = patch.object(all_subsets_step, "weights_without_conflicts", _equal_weights)
    of_parameters = patch.object(gradient_surgery, "weights_without_conflicts", _equal_weights)
    with patch.dict(os.environ, {"nnUNet_compile": "f"}), equal, of_parameters:
        torch.autocast = mixed.switched  # type: ignore[assignment,misc]
        try:
            yield mixed
        finally:
            torch.autocast = autocast  # type: ignore[misc]


def _equal_weights(products: Tensor, _rng: object) -> Tensor:
    return torch.ones(len(products))


def peak_of_a_step(name: str, plans: dict[str, Any], mixed: MixedPrecision, **block: Any) -> Peak:
    """Return the peak of a step of a trainer, with complete cases.

    Args:
        mixed: of `on_meta`, inside of which this is called.
        block: keys of the ``"missingmod"`` block.
    """
    trainer = make_trainer(name, plans, META, **block)
    batch = make_batch(trainer)
    trainer.dropout = None
    live = LiveBytes()
    try:
        with live, mixed:
            trainer.train_step(batch)
    except NotImplementedError as error:  # the host reads the loss, which has no value here, at the step's end
        frames = traceback.extract_tb(error.__traceback__)
        read = [frame.line or "" for frame in frames if "nnunetv2" in frame.filename or "missingmod" in frame.filename]
        if ".detach().cpu()" not in read[-1]:
            raise
    chosen = trainer.configuration_manager
    counted = trainer.network.compute_conv_feature_map_size(chosen.patch_size) * chosen.batch_size
    return Peak(live.peak, int(counted))


def measure(memory_target_gb: float, trainers: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the table, each with whether its limit is kept."""
    yield f"Planned for {memory_target_gb:g} GB.\n", True
    yield "| trainer | plans | counted, millions | peak, GB | peak / counted | at most |", True
    yield "| --- | --- | --: | --: | --: | --: |", True
    with dataset_without_images() as preprocessed, on_meta() as mixed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        reference = peak_of_a_step(REFERENCE, plans[STOCK], mixed)
        for name in trainers:
            kind = OWN if name in WITH_OWN_PLANS else STOCK
            peak = peak_of_a_step(name, plans[kind], mixed)
            ratio, limit = peak.per_output / reference.per_output, LIMITS.get(name)
            of = "stock" if kind == STOCK else "own"
            cells = [f"`{name}`", of, f"{peak.counted / 1e6:.0f}", f"{peak.held / 1e9:.2f}", f"{ratio:.2f}"]
            yield f"| {' | '.join([*cells, '' if limit is None else str(limit)])} |", limit is None or ratio <= limit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory-target", type=float, default=MEMORY_TARGET["cuda"], help="GB")
    menu = [REFERENCE, *(name for group in GROUPS for name in TRAINERS[group][1] if name not in OF_OTHER_PLANS)]
    parser.add_argument("--trainers", nargs="+", default=menu, choices=menu)
    arguments = parser.parse_args()
    good = True
    for line, kept in measure(arguments.memory_target, arguments.trainers):
        print(line, flush=True)
        good &= kept
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
