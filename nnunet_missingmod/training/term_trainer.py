"""The base of all trainers that take loss terms: their own network and their terms inside nnU-Net's loop.

nnU-Net's ``train_step`` stays as it is. It calls ``self.network(data)``, which in training mode returns features beside
the logits, and ``self.loss(output, target)``, which makes named terms of them. ``method_trainer`` adds a teacher.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from PIL import Image
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnunet_missingmod import plans_block
from nnunet_missingmod.keys import OFF
from nnunet_missingmod.losses.pooled_dice import PooledDiceLoss
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.reduction import gaussian_ramp, warmup_weight
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.networks.decoded import DecodedFeatures
from nnunet_missingmod.networks.multimodal import encodes_dropped, tell_present
from nnunet_missingmod.preprocessing.configuration import bring_preprocessor
from nnunet_missingmod.training.building import (
    SEGMENTATION,
    build_network,
    build_terms,
    of_its_subset,
    term_weights,
    terms_in_use,
)
from nnunet_missingmod.training.step import StepLoss, StepTerms, mean_values
from nnunet_missingmod.training.trainer import MissingModTrainer

_CLIP_NORM = 12  # as nnU-Net clips the network's
_STATE = "missingmod_terms"


class TermTrainer(MissingModTrainer):
    """Trains the network of its choices with their loss terms; a subclass sets class attributes named as the keys.

    What learns beside the network (the mixture's weights, the mutual-information heads) is in the optimiser, and in
    the checkpoint within the optimiser's state: the network's weights stay those that prediction needs.

    Attributes:
        terms: the loss terms, from ``configure_optimizers`` on.
        term_weights: the weight of each term in use, after warm-up.
        taught_by: the fingerprint of the teacher that the training was started with, if any; kept for ``--c``.
    """

    block_keys = plans_block.KEYS_OF_METHODS

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - the host's signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = self.choices["deep_supervision"]
        self.term_weights = term_weights(self.choices)
        self.enumerates = self.choices["subset_objective"] == "enumerate"
        self.terms: StepTerms | None = None
        self.taught_by: str | None = None
        self.logger.local_logger = TermLogger(self._series())

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network that the resolved choices in the configuration describe."""
        bring_preprocessor(configuration_manager)
        network = build_network(
            configuration_manager.configuration[plans_block.BLOCK],
            plans_manager,
            configuration_manager,
            num_input_channels=num_input_channels,
            num_output_channels=num_output_channels,
            deep_supervision=enable_deep_supervision,
        )
        return of_its_subset(network, configuration_manager)

    def initialize(self) -> None:
        """Build what nnU-Net builds; from now on the network returns in training what the terms need."""
        super().initialize()
        network = unwrapped(self.network)
        assert self.terms is not None
        if self._do_i_compile():
            self.terms.compile_networks()
        if self.enumerates:
            network.training_output = "branches"
        elif set(self.term_weights) != {SEGMENTATION}:
            network.training_output = "features"

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Add to nnU-Net's optimiser what learns beside the network; its state then travels with the optimiser's."""
        optimizer, scheduler = super().configure_optimizers()
        kind = "regions" if self.label_manager.has_regions else "softmax"
        head = Head(kind, ignore_label=self.label_manager.ignore_label)
        of_dice = self.choices["segmentation_loss"] == "dice"
        segmentation = PooledDiceLoss(head) if of_dice else super()._build_loss()
        network = unwrapped(self.network)
        setting = Setting(
            modality_names=tuple(self.modality_names),
            encoder_channels=tuple(network.encoder.output_channels),
            dimensions=len(self.configuration_manager.patch_size),
            head=head,
            decoder=getattr(network, "decoder_design", None),
            segmentation=segmentation.loss if isinstance(segmentation, DeepSupervisionWrapper) else segmentation,
            supervised=segmentation,
            num_outputs=self.label_manager.num_segmentation_heads,
        )
        partner = self._build_partner() if self.choices["partner"] else None
        self.terms = build_terms(self.choices, segmentation, setting, partner=partner).to(self.device)
        network.encodes_dropped = self.terms.uses_dropped
        self.terms.surgery = self.choices["gradient_surgery"]
        # In a tuple, which does not make them parameters of the terms.
        self.terms.operated_on = tuple(parameter for parameter in network.parameters() if parameter.requires_grad)
        # A discriminator has an optimiser of its own.
        learning = {name: value for name, value in self.terms.named_parameters() if value.requires_grad}
        if learning:
            mixture = [parameter for name, parameter in learning.items() if name.startswith("alignment.")]
            others = [parameter for name, parameter in learning.items() if not name.startswith("alignment.")]
            factor = self.choices["mixture_learning_rate_factor"]
            as_the_network = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
            for parameters, group in ((mixture, {"lr_factor": factor, "weight_decay": 0.0}), (others, {})):
                if parameters:
                    optimizer.add_param_group({**as_the_network, "params": parameters, **group})
            optimizer.register_step_pre_hook(self._clip_terms)
        optimizer.register_state_dict_post_hook(self._add_terms)
        optimizer.register_load_state_dict_pre_hook(self._take_terms)
        return optimizer, scheduler

    def _build_partner(self) -> nn.Module:
        network = self.build_network_architecture(
            self.plans_manager,
            self.configuration_manager,
            self.num_input_channels,
            self.label_manager.num_segmentation_heads,
            self.enable_deep_supervision,
        )
        network.training_output = "features"  # type: ignore[assignment]
        return network

    def _build_loss(self) -> StepLoss:
        assert self.terms is not None
        terms: nn.Module = self.terms
        if self.is_ddp and any(True for _ in self.terms.parameters()):
            # With device_ids it would copy what losses are told on the CPU to the GPU, and they would wait for it.
            terms = DistributedDataParallel(terms)
        decoded = DecodedFeatures(self.network) if self.terms.uses_decoded else None
        return StepLoss(self.terms.segmentation, terms, decoded)

    def on_train_epoch_start(self) -> None:
        """Start the epoch with its weights of the terms and its learning rates."""
        super().on_train_epoch_start()
        assert self.terms is not None
        for group in self.optimizer.param_groups:
            group["lr"] *= group.get("lr_factor", 1.0)
        for term in terms_in_use(self.choices):
            if term.warms_up(self.choices):
                warmup = self.choices["distillation_warmup_epochs"]
                self.terms.weights[term.name] = warmup_weight(self.term_weights[term.name], self.current_epoch, warmup)
        begins = self.choices["auxiliary"] == OFF or (
            self.current_epoch >= self.choices["segmentation_from"] * self.num_epochs
        )
        self.terms.weights[SEGMENTATION] = self.term_weights[SEGMENTATION] if begins else 0.0
        if "consistency" in self.term_weights:
            ramp = gaussian_ramp(self.current_epoch, self.choices["consistency_ramp_epochs"])
            self.terms.weights["consistency"] = self.term_weights["consistency"] * ramp
        self.terms.start_epoch(self.current_epoch)
        self.loss.values.clear()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take nnU-Net's training step; the network knows what is present without looking."""
        tell_present(self.network, self._present(batch))
        if self.choices["partner"]:
            batch["data"] = batch["data"].to(self.device, non_blocking=True)
            self.loss.complete = batch["data"].clone()  # what is dropped is marked in place
        if self.choices["gradient_surgery"] != "parameters":
            return super().train_step(batch)
        # Several backward passes go through one forward pass, whose buffers torch.compile would give away.
        with torch._functorch.config.patch(donated_buffer=False):
            return super().train_step(batch)

    def _keep(self, batch: dict[str, Any], kept: torch.Tensor) -> None:
        if encodes_dropped(self.network):
            tell_present(self.network, self._present(batch), kept=kept)
            return
        super()._keep(batch, kept)
        tell_present(self.network, kept)

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Log each term beside nnU-Net's total, and the mixture's weights."""
        super().on_train_epoch_end(train_outputs)
        if self.loss.values:
            means = mean_values(self.loss.values)
            if self.is_ddp:
                of_ranks: list[Any] = [None] * dist.get_world_size()
                dist.all_gather_object(of_ranks, means)
                means = {name: float(np.mean([rank[name] for rank in of_ranks])) for name in means}
            for name, value in means.items():
                self.logger.log(f"loss_{name}", value, self.current_epoch)
            self.print_to_log_file("terms", {name: round(value, 4) for name, value in means.items()})
        if self.choices["alignment_anchor"] == "mixture":
            weights = self._mixture_weights()
            self.logger.log("mixture_weights", weights, self.current_epoch)
            named = dict(zip(self.modality_names, np.round(weights, 4).tolist(), strict=True))
            self.print_to_log_file("mixture weights", named)

    def _series(self) -> list[str]:
        series = [f"loss_{name}" for name in self.term_weights]
        if series == [f"loss_{SEGMENTATION}"] and not self.enumerates:
            return []  # nnU-Net's own train_losses
        return [*series, "mixture_weights"] if self.choices["alignment_anchor"] == "mixture" else series

    def _mixture_weights(self) -> list[float]:
        assert self.terms is not None
        values: list[float] = self.terms.term("alignment").mixture_weights().detach().tolist()
        return values

    def _clip_terms(self, *_step: Any) -> None:
        assert self.terms is not None
        nn.utils.clip_grad_norm_(self.terms.parameters(), _CLIP_NORM)

    def _add_terms(self, _optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        assert self.terms is not None
        return {**state, _STATE: {"terms": self.terms.state_dict(), "teacher": self.taught_by}}

    def _take_terms(self, _optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        assert self.terms is not None
        if _STATE not in state:
            raise ValueError("This checkpoint holds no state of the loss terms: another trainer wrote it.")
        self.terms.load_state_dict(state[_STATE]["terms"])
        self.taught_by = state[_STATE]["teacher"]
        return {name: value for name, value in state.items() if name != _STATE}


logger = logging.getLogger(__name__)

_INCHES = (30, 18)  # one of the three panels of the host's figure, at its default resolution


class TermLogger(LocalLogger):
    """nnU-Net's log with more series: one value per epoch each, in the checkpoint and in progress.png.

    Args:
        names: of the series; a value is a number, or a list of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.my_fantastic_logging |= {name: [] for name in names}

    def plot_progress_png(self, output_folder: str) -> None:
        """Write nnU-Net's progress.png with one more panel; a panel that cannot be drawn does not end a training."""
        super().plot_progress_png(output_folder)
        series = {name: self.my_fantastic_logging[name] for name in self.names}
        if series:
            file = Path(output_folder) / "progress.png"
            try:
                append_panel(file, series)
            except (OSError, SyntaxError) as error:  # what Pillow raises for a file that something else wrote to
                logger.warning("%s has no panel of the loss terms: %s", file, error)


def append_panel(file: Path, series: Mapping[str, Sequence[Any]]) -> None:
    """Append a panel with the series, one value or list of values per epoch, below the image in ``file``."""
    with Image.open(file) as figure:
        above = figure.convert("RGB")
    panel = Image.fromarray(_draw(series)).resize((above.width, round(above.width * _INCHES[1] / _INCHES[0])))
    joined = Image.new("RGB", (above.width, above.height + panel.height), "white")
    joined.paste(above, (0, 0))
    joined.paste(panel, (0, above.height))
    joined.save(file)


def _draw(series: Mapping[str, Sequence[Any]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    figure, axis = plt.subplots(figsize=_INCHES, dpi=100)
    for name, values in series.items():
        array = np.asarray(values, dtype=float).reshape(len(values), -1)  # (epochs, values)
        for column in range(array.shape[1]):
            label = name if array.shape[1] == 1 else f"{name}[{column}]"
            axis.plot(range(len(array)), array[:, column], label=label, linewidth=4)
    axis.set_xlabel("epoch")
    axis.set_ylabel("terms of the training loss, before their weights")
    axis.legend(loc=(0, 1), ncols=4)
    figure.tight_layout()
    canvas: Any = figure.canvas
    canvas.draw()
    drawn = np.array(canvas.buffer_rgba())[..., :3]
    plt.close(figure)
    return drawn
