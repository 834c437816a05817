"""The trainer of masked multimodal pretraining: a method's network learns to fill in what is hidden of the images."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from nnunet_missingmod import absence, plans_block
from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.networks.multimodal import tell_present
from nnunet_missingmod.training.building import build_network
from nnunet_missingmod.training.checkpoints import PRETRAINED, START_FROM
from nnunet_missingmod.training.masking import draw_cubes, explained, reconstruction_loss, to_voxels
from nnunet_missingmod.training.saving import saved_completely
from nnunet_missingmod.training.trainer import MissingModTrainer

_REFUSAL = "pretraining_only"


class PretrainingOnlyError(RuntimeError):
    """A network that was only pretrained is asked for a segmentation."""


class MaskedPretrainer(MissingModTrainer):
    """Trains the network of its choices, with an output channel per modality, to reconstruct images seen in part.

    A step drops whole modalities (``modality_dropout``) and hides cubes of the others until 1 - ``masked_share`` of all
    cubes are left (`masking.draw_cubes`); the loss is `masking.reconstruction_loss` on everything that the case has.
    Labels have no part in it, except that nnU-Net centres a share of the patches on them
    (``oversample_foreground_percent``): cases without any label serve too, and those that lack modalities teach what
    they have. nnU-Net's pseudo Dice shows the explained variance of the hidden voxels, per modality.

    ``nnUNetv2_train ... -pretrained_weights FOLD/pretrained_encoder.pth`` starts a training from its encoder. That file
    has a decoder that is not trained: one that reconstructs intensities is a worse start than a random one.
    """

    block_keys = plans_block.PRETRAINING_KEYS
    segments = False

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = False,
    ) -> nn.Module:
        """Build the network of the choices with one output channel per modality; only a training can call it."""
        network = build_network(
            configuration_manager.configuration[plans_block.BLOCK],
            plans_manager,
            configuration_manager,
            num_input_channels=num_input_channels,
            num_output_channels=len(configuration_manager.normalization_schemes),
            deep_supervision=False,
        )
        setattr(network, _REFUSAL, network.register_forward_pre_hook(_refuse))
        return network

    def initialize(self) -> None:
        """Build what nnU-Net builds, without deep supervision."""
        self.enable_deep_supervision = False
        self._start_masks(0)
        super().initialize()
        getattr(unwrapped(self.network), _REFUSAL).remove()

    def _build_loss(self) -> Any:
        def loss(output: Tensor, target: list[Tensor]) -> Tensor:
            return reconstruction_loss(output, *target)

        return loss

    def on_train_start(self) -> None:
        """Start as nnU-Net does, and say what its log means."""
        super().on_train_start()
        self.print_to_log_file(
            "Pretraining: the pseudo Dice is the explained variance of the hidden voxels of "
            f"{', '.join(self.modality_names)}."
        )

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sequence of masks."""
        super().on_train_epoch_start()
        self._start_masks(self.current_epoch)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take nnU-Net's training step on a part of the images, which themselves are the target."""
        batch["target"] = self._target(batch)
        if self.dropout is None:
            self._keep(batch, self._present(batch))
        return super().train_step(batch)

    def on_validation_epoch_start(self) -> None:
        """Hide the same cubes in each epoch's validation."""
        super().on_validation_epoch_start()
        self._start_masks(-1)

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the loss, and the explained and unexplained squares of the hidden voxels in the place of TP and FP."""
        images, present = target = self._target(batch)
        kept = self._kept_in_validation(batch)
        self._keep(batch, kept)
        with self._autocast():
            output = self.network(batch["data"])
        loss = self.loss(output, target)
        hidden = ~self._visible & absence.over_voxels(present, images)
        found, left = (squares.cpu().numpy() for squares in explained(output, images, hidden))
        # 2 TP / (2 TP + FP + FN) is then explained / (explained + left).
        return {
            "loss": loss.cpu().numpy(),
            "tp_hard": found / 2,
            "fp_hard": left,
            "fn_hard": np.zeros_like(left),
            "num_present": int(kept.sum(dim=1).min()),
        }

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log nnU-Net's pseudo Dice; it is NaN for a modality that no case of the epoch has."""
        with np.errstate(invalid="ignore"):
            super().on_validation_epoch_end(val_outputs)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Write what a training starts from, and say so: there is no segmentation to validate.

        Raises:
            CheckpointNotSavedError: it could not be written.
        """
        file = self._fold_folder / PRETRAINED
        if self.local_rank == 0:
            with saved_completely(file) as temporary:
                torch.save({"network_weights": self._encoder_weights()}, temporary)
        self.print_to_log_file(
            f"A pretraining has no segmentation to validate. Start a training from it with -pretrained_weights {file}"
        )

    def _encoder_weights(self) -> dict[str, Tensor]:
        """Return the network's weights, with those of a new decoder in the place of its decoder's."""
        with torch.random.fork_rng(devices=[]):
            fresh = self.build_network_architecture(
                self.plans_manager,
                self.configuration_manager,
                self.num_input_channels,
                self.label_manager.num_segmentation_heads,
                enable_deep_supervision=False,
            ).state_dict()
        trained = unwrapped(self.network).state_dict()
        # nnU-Net's decoders hold the encoder, too.
        is_new = {name: bool(re.search(r"(^|\.)decoder\.(?!encoder\.)", name)) for name in trained}
        return {name: (fresh[name] if is_new[name] else weights).cpu() for name, weights in trained.items()}

    def _start_masks(self, epoch: int) -> None:
        self._mask_rng = np.random.default_rng([self.choices["modality_dropout_seed"], self.local_rank, epoch + 1, 1])

    def _target(self, batch: dict[str, Any]) -> list[Tensor]:
        """Return the images (B, J, *spatial) as they are, and what is present, both on the device."""
        images = batch["data"][:, : len(self.modality_names)].to(self.device, non_blocking=True, copy=True)
        return [images, self._present(batch).to(self.device, non_blocking=True)]

    def _keep(self, batch: dict[str, Any], kept: Tensor) -> None:
        """Mark what is not kept, and hide cubes of what is."""
        super()._keep(batch, kept)
        tell_present(self.network, kept)
        patch_size = batch["data"].shape[2:]
        cubes = draw_cubes(
            self._present(batch).numpy(),
            kept.numpy(),
            patch_size,
            masked_share=self.choices["masked_share"],
            rng=self._mask_rng,
        )
        self._visible = to_voxels(torch.from_numpy(cubes).to(self.device, non_blocking=True), patch_size)
        modalities = batch["data"][:, : len(self.modality_names)]
        # An absent modality is marked in every voxel, and stays so.
        hides = ~self._visible & absence.over_voxels(kept.to(self.device, non_blocking=True), modalities)
        modalities.masked_fill_(hides, 0.0)


def _refuse(_network: nn.Module, _inputs: Any) -> None:
    raise PretrainingOnlyError(
        f"This model was only pretrained: it reconstructs images and segments nothing. {START_FROM}"
    )
