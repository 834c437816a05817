"""Compare what happens to modalities before or after the backbone, on phantoms, with the same steps for each network.

    python benchmarks/fusion_study.py [--steps 400] [--seeds 1] [--threads 2]

Every network has the same widths, channel encoder, batches, dropped modalities, loss (Dice and cross-entropy) and
optimiser (SGD with momentum 0.9 and learning rate 0.03: nnU-Net's 0.99 and 0.01 need many times the steps). Prints the
mean Dice over the regions WT, TC and ET and over test cases, by number of present modalities and over all 15 subsets; a
region that is empty in reference and prediction counts as 1.
One small study on synthetic images: it tells gross differences, no more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_missingmod.demo.contrast import MODALITIES
from nnunet_missingmod.demo.phantom import generate_case
from nnunet_missingmod.evaluation.metrics import dice
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.multimodal import MultimodalNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork
from nnunet_missingmod.training.subsets import ModalityDropout

SIZE = (32, 40, 32)
FEATURES = (8, 16, 32)
NUM_CLASSES = 4
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
J = len(MODALITIES)


def load_cases(first_seed: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (N, J, X, Y, Z), normalised within the brain, and labels (N, 1, X, Y, Z)."""
    images, labels = [], []
    for seed in range(first_seed, first_seed + number):
        case = generate_case(seed, size=SIZE)
        channels = []
        for name in MODALITIES:
            image = case.images[name]
            brain = image > 0
            channels.append(np.where(brain, (image - image[brain].mean()) / image[brain].std(), 0))
        images.append(np.stack(channels).astype(np.float32))
        labels.append(case.labels[None].astype(np.int64))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def build_backbone(channels: int) -> PlainConvUNet:
    backbone = PlainConvUNet(
        channels,
        len(FEATURES),
        FEATURES,
        nn.Conv3d,
        3,
        [1] + [2] * (len(FEATURES) - 1),
        2,
        NUM_CLASSES,
        2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )
    backbone.apply(PlainConvUNet.initialize)
    return backbone


def build_early(*, absent_fill: str = "zero", presence_conditioning: bool = False) -> MultimodalNetwork:
    encoder = ChannelEncoder(J, "shared", absent_fill=absent_fill)
    backbone = build_backbone(J * encoder.out_channels)
    return EarlyFusionNetwork(encoder, backbone, presence_conditioning=presence_conditioning)


def build_parallel() -> MultimodalNetwork:
    encoder = ChannelEncoder(J, "shared")
    return ParallelNetwork(encoder, build_backbone(encoder.out_channels))


def build_encoders(feature_fusion: str) -> MultimodalNetwork:
    encoder = ChannelEncoder(J, "shared")
    return ModalityEncoderNetwork(encoder, build_backbone(encoder.out_channels), feature_fusion=feature_fusion)


ARMS: dict[str, Callable[[], MultimodalNetwork]] = {
    "early": build_early,
    "early, presence-conditioned": lambda: build_early(absent_fill="learned", presence_conditioning=True),
    "parallel, logits, mean": build_parallel,
    "parallel, features, mean": lambda: build_encoders("mean"),
    "parallel, features, attention": lambda: build_encoders("attention"),
}


def train(network: MultimodalNetwork, images: torch.Tensor, labels: torch.Tensor, *, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dropout = ModalityDropout("uniform", seed=seed)
    loss = DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    optimizer = torch.optim.SGD(network.parameters(), 0.03, momentum=0.9, nesterov=True, weight_decay=3e-5)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, power=0.9)
    network.train()
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(len(images), size=2))
        axes = [axis for axis in (2, 3, 4) if rng.random() < 0.5]
        present = torch.from_numpy(dropout.sample(np.ones((2, J), dtype=bool)))
        optimizer.zero_grad()
        loss(network(images[chosen].flip(axes), present), labels[chosen].flip(axes)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def evaluate(network: MultimodalNetwork, images: torch.Tensor, labels: torch.Tensor) -> dict[int, list[float]]:
    """Return {number of present modalities: Dice of each subset, case and region}."""
    network.eval()
    scores: dict[int, list[float]] = {count: [] for count in range(1, J + 1)}
    for subset in all_subsets(J):
        present = torch.zeros(1, J, dtype=torch.bool)
        present[0, list(subset)] = True
        for image, label in zip(images, labels, strict=True):
            predicted = network(image[None], present).argmax(1)[0].numpy()
            reference = label[0].numpy()
            for members in REGIONS.values():
                scores[len(subset)].append(dice(np.isin(predicted, members), np.isin(reference, members)))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cases", type=int, default=40, help="training phantoms")
    parser.add_argument("--test-cases", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images, labels = load_cases(0, args.cases)
    test_images, test_labels = load_cases(10_000, args.test_cases)
    print(
        f"{args.cases} training and {args.test_cases} test phantoms of {tuple(images.shape[2:])} voxels, {args.steps} "
        f"steps of batch 2, features {FEATURES}, {args.seeds} seed(s)\n"
    )
    columns = " | ".join(f"{count} of {J}" for count in range(1, J + 1))
    print(f"| network | {columns} | all 15 subsets | parameters | minutes |\n{'| --- ' * (J + 4)}|")
    for name, build in ARMS.items():
        start = time.perf_counter()
        by_seed = []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            network = build()
            train(network, images, labels, steps=args.steps, seed=seed)
            by_seed.append(evaluate(network, test_images, test_labels))
        parameters = sum(parameter.numel() for parameter in network.parameters())
        means = [np.mean([scores[count] for scores in by_seed]) for count in range(1, J + 1)]
        overall = [np.mean(np.concatenate(list(scores.values()))) for scores in by_seed]
        spread = f" ({min(overall):.3f}-{max(overall):.3f})" if args.seeds > 1 else ""
        cells = " | ".join(f"{mean:.3f}" for mean in means)
        minutes = (time.perf_counter() - start) / 60
        print(f"| {name} | {cells} | {np.mean(overall):.3f}{spread} | {parameters:,} | {minutes:.1f} |", flush=True)


if __name__ == "__main__":
    main()
