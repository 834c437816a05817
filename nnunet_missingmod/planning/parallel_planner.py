"""Plans for parallel networks: nnU-Net's planning, with the memory of J branches instead of that of one network.

nnU-Net estimates memory from the number of convolution outputs of one sample. Its planners are calibrated: a known
number of outputs, at a known batch size, fills a known number of GB. A training step keeps the outputs for its backward
pass, and a parallel network keeps those of all branches. So this planner counts the outputs of the whole parallel
network per sample. nnU-Net's rules then choose patch size, topology and batch size.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.json_export import recursive_fix_for_json_export

from nnunet_missingmod.cases.dataset import find_raw_cases
from nnunet_missingmod.cases.description import check_for_planning, read_dataset_json
from nnunet_missingmod.cases.integrity import is_readable_name
from nnunet_missingmod.host import HOST_PREPROCESSOR, PREPROCESSOR
from nnunet_missingmod.modalities import channel_names
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder, latent_channels
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.multimodal import MultimodalNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork
from nnunet_missingmod.planning.training_files import lack_files

logger = logging.getLogger(__name__)

STOCK_PLANS = "nnUNetPlans"
# For complete cases both write the same data, bit for bit; only this package's accepts incomplete ones.
_EQUIVALENT_PREPROCESSORS = frozenset({HOST_PREPROCESSOR, PREPROCESSOR})
# Every planner plans the data of these configurations alike, from the fingerprint, if no target spacing is given.
_PLANNED_ALIKE = ("2d", "3d_fullres")

# The entries of a configuration and of the plans that determine the preprocessed data.
_CONFIGURATION_FIELDS = (
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
_PLANS_FIELDS = ("transpose_forward", "foreground_intensity_properties_per_channel")

_WIDTH_STEP = 8  # GPUs multiply half-precision matrices in multiples of it
_FEWEST_STAGES = 3
_SMALLEST_WIDTH = 16  # of the reference network of Cheng et al.


def shared_data_identifier(
    name: str, configuration: Mapping[str, Any], plans: Mapping[str, Any], *, folder: Path, overwritten_spacing: bool
) -> str | None:
    """Return the ``data_identifier`` of the stock data that ``configuration`` can use, or None if it needs its own.

    If ``folder`` has stock plans, the configuration is compared with them. If not, it is compared with the plans that
    stock nnU-Net would make from the same fingerprint.

    Args:
        name: of the configuration.
        configuration: its entry in the plans.
        plans: ``transpose_forward`` and ``foreground_intensity_properties_per_channel`` of the plans.
        folder: ``nnUNet_preprocessed/DATASET``.
        overwritten_spacing: whether the target spacing is the user's rather than the fingerprint's.
    """
    if configuration["preprocessor_name"] not in _EQUIVALENT_PREPROCESSORS:
        return None
    file = folder / f"{STOCK_PLANS}.json"
    if not file.is_file():
        return f"{STOCK_PLANS}_{name}" if name in _PLANNED_ALIKE and not overwritten_spacing else None
    stock = json.loads(file.read_text(encoding="utf-8"))
    of_stock = stock["configurations"].get(name, {})
    if of_stock.get("preprocessor_name") not in _EQUIVALENT_PREPROCESSORS:
        return None
    same = all(_written(configuration[key]) == of_stock.get(key) for key in _CONFIGURATION_FIELDS) and all(
        _written(plans[key]) == stock.get(key) for key in _PLANS_FIELDS
    )
    identifier: str | None = of_stock["data_identifier"] if same else None
    return identifier


def _written(value: Any) -> Any:
    """Return a value as nnU-Net's plans file would return it: arrays as lists, keys as strings."""
    copied = {"value": value}
    recursive_fix_for_json_export(copied)
    return json.loads(json.dumps(copied))["value"]


def parallel_width(width: int, num_modalities: int) -> int:
    """Return the number of features of a parallel network's first level, given that of a single network.

    J branches take J times the memory. A factor of sqrt(J) is saved by narrower levels, ``width / sqrt(J)`` rounded to
    a multiple of 8 and at least 16; the rest by nnU-Net's choice of smaller patches. For J = 4 and nnU-Net's 32 it is
    16, the width of the network in Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation.
    """
    narrower = _WIDTH_STEP * round(width / math.sqrt(num_modalities) / _WIDTH_STEP)
    return min(width, max(_SMALLEST_WIDTH, narrower))


class ParallelPlanner(ExperimentPlanner):
    """nnU-Net's default planner, for the parallel network of its class attributes; a mixin for other planners.

    The plans name a stock backbone, so stock nnU-Net can train with them too. They have no ``"missingmod"`` block,
    because it would override the choices of every trainer that uses the plans, including the teacher's.

    Attributes:
        default_plans_name: of the plans file, unless ``-overwrite_plans_name`` names another.
        channel_encoder, channel_encoder_width, fused_at, feature_fusion: the network that must fit into memory, in the
            terms of ``choices.KEYS``; by default the one that needs the most.
    """

    default_plans_name: str
    preprocessor_name: str
    UNet_base_num_features: int
    channel_encoder = "shared"
    channel_encoder_width = 1
    fused_at = "logits"
    feature_fusion = "mean"

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float | None = None,
        preprocessor_name: str = HOST_PREPROCESSOR,
        plans_name: str | None = None,
        overwrite_target_spacing: list[float] | tuple[float, ...] | None = None,
        suppress_transpose: bool = False,
    ) -> None:
        check_for_planning(Path(str(nnUNet_raw), maybe_convert_to_dataset_name(dataset_name_or_id)))
        target = {} if gpu_memory_target_in_gb is None else {"gpu_memory_target_in_gb": gpu_memory_target_in_gb}
        super().__init__(
            dataset_name_or_id,
            preprocessor_name=preprocessor_name,
            plans_name=plans_name or self.default_plans_name,
            overwrite_target_spacing=overwrite_target_spacing,
            suppress_transpose=suppress_transpose,
            **target,
        )
        self.num_modalities = len(channel_names(self.dataset_json))
        self.UNet_base_num_features = parallel_width(self.UNet_base_num_features, self.num_modalities)
        if self.preprocessor_name == HOST_PREPROCESSOR and lack_files(self.dataset, self.dataset_json):
            self.preprocessor_name = PREPROCESSOR

    def determine_reader_writer(self) -> Any:
        """Return nnU-Net's reader of the images, tried on one that exists: the first case may lack its first."""
        folder = Path(self.raw_dataset_folder)
        given, _ = find_raw_cases(folder, read_dataset_json(folder))
        files = [file for split, case in given if split == "Tr" for file in case.files.values()]
        example = next((str(file) for file in files if is_readable_name(file)), None)
        return determine_reader_writer_from_dataset_json(self.dataset_json, example)

    def static_estimate_VRAM_usage(  # noqa: N802 - the host's name
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict[str, Any],
        arch_kwargs_req_import: Sequence[str],
    ) -> int:
        """Return the convolution outputs of one complete sample in the parallel network around the plans' backbone.

        The arguments are nnU-Net's; ``input_channels`` is J.
        """
        with torch.device("meta"):  # no memory and no initial weights for a network that only counts
            channels = latent_channels(
                self.channel_encoder, width=self.channel_encoder_width, num_modalities=input_channels
            )
            backbone = get_network_from_plans(
                arch_class_name,
                arch_kwargs,
                arch_kwargs_req_import,
                channels,
                output_channels,
                allow_init=False,
            )
            channel_encoder = ChannelEncoder(
                input_channels,
                self.channel_encoder,
                width=self.channel_encoder_width,
                conv_op=backbone.encoder.conv_op,
            )
            network: MultimodalNetwork
            if self.fused_at == "logits":
                network = ParallelNetwork(channel_encoder, backbone)
            else:
                network = ModalityEncoderNetwork(channel_encoder, backbone, feature_fusion=self.feature_fusion)
        return network.compute_conv_feature_map_size(patch_size)

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Return the name of this planner's own data; ``get_plans_for_configuration`` prefers stock data."""
        return f"{self.plans_identifier}_{configuration_name}"

    def get_plans_for_configuration(
        self, spacing: Any, median_shape: Any, data_identifier: str, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Return nnU-Net's plan of a configuration; it names the data of stock plans if the network can use them."""
        plan: dict[str, Any] = super().get_plans_for_configuration(
            spacing, median_shape, data_identifier, *args, **kwargs
        )
        if plan["architecture"]["arch_kwargs"]["n_stages"] < _FEWEST_STAGES:
            logger.warning(
                "%s: with patches of %s the network has fewer than %d levels, which nnU-Net cannot train (its only "
                "deep-supervision weight is 0). Raise -gpu_memory_target (%g GB), or leave this configuration out.",
                data_identifier,
                tuple(map(int, plan["patch_size"])),
                _FEWEST_STAGES,
                self.UNet_vram_target_GB,
            )
        intensities = "foreground_intensity_properties_per_channel"
        transpose = [int(axis) for axis in self.determine_transpose()[0]]
        shared = shared_data_identifier(
            data_identifier.removeprefix(f"{self.plans_identifier}_"),
            plan,
            {"transpose_forward": transpose, intensities: self.dataset_fingerprint[intensities]},
            folder=Path(str(nnUNet_preprocessed), self.dataset_name),
            overwritten_spacing=self.overwrite_target_spacing is not None,
        )
        return plan if shared is None else {**plan, "data_identifier": shared}
