"""Time a prediction of one patch with 1, 2, .. J modalities present, for every network kind.

    python benchmarks/prediction_time.py [--threads 2] [--pairs 15] [--device cpu]

Prints, for each kind, the time with all modalities and the ratio to it of fewer; each ratio is the median over pairs of
runs taken one after the other, so that a machine that slows down for a while slows down both. Exit code 1 if the
parallel network fused at its logits takes more than 0.40 of the full time for one modality.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.multimodal_network import MultimodalNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork

NUM_MODALITIES = 4
NUM_CLASSES = 4
LARGEST_RATIO = 0.40
# patch, features per stage
SIZES = {"cpu": ((64, 64, 64), (16, 32, 64, 128)), "cuda": ((128, 128, 128), (32, 64, 128, 256, 320, 320))}


def build_backbone(channels: int, features: tuple[int, ...]) -> nn.Module:
    return PlainConvUNet(
        channels,
        len(features),
        features,
        nn.Conv3d,
        3,
        [1] + [2] * (len(features) - 1),
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


def build_networks(features: tuple[int, ...]) -> dict[str, MultimodalNetwork]:
    def encoder() -> ChannelEncoder:
        return ChannelEncoder(NUM_MODALITIES, "shared")

    width = encoder().out_channels

    def parallel(fused_at: str, fusion: str) -> ParallelNetwork:
        backbone = build_backbone(width, features)
        return ParallelNetwork(encoder(), backbone, fused_at=fused_at, feature_fusion=fusion)

    return {
        "early": EarlyFusionNetwork(encoder(), build_backbone(NUM_MODALITIES * width, features)),
        "parallel, logits": parallel("logits", "mean"),
        "parallel, features, mean": parallel("features", "mean"),
        "parallel, features, attention": parallel("features", "attention"),
    }


def seconds(run: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(
    network: MultimodalNetwork, patch: tuple[int, ...], *, pairs: int, device: str
) -> tuple[float, dict[int, tuple[float, float, float]]]:
    """Return the full case's median seconds, and of 1..J-1 modalities the quartiles of the ratio to it."""
    inputs = {}
    for count in range(1, NUM_MODALITIES + 1):
        inputs[count] = torch.randn(1, NUM_MODALITIES, *patch, device=device)
        inputs[count][:, count:] = float("nan")
    full_seconds = []
    ratios: dict[int, tuple[float, float, float]] = {}
    for count in range(1, NUM_MODALITIES):
        for x in (inputs[count], inputs[NUM_MODALITIES]):
            network(x)
        of_pairs = []
        for _ in range(pairs):
            part = seconds(lambda count=count: network(inputs[count]), device)  # type: ignore[misc]
            full = seconds(lambda: network(inputs[NUM_MODALITIES]), device)
            full_seconds.append(full)
            of_pairs.append(part / full)
        low, median, high = statistics.quantiles(of_pairs, n=4)
        ratios[count] = (low, median, high)
    return statistics.median(full_seconds), ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=15, help="pairs of runs per number of modalities")
    parser.add_argument("--device", choices=tuple(SIZES), default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    patch, features = SIZES[args.device]
    print(f"patch {patch}, features {features}, {args.device}, {args.threads} threads, {args.pairs} pairs, J = 4\n")
    print("| network | s, all 4 | 1 of 4 / all | 2 of 4 / all | 3 of 4 / all |\n| --- | --- | --- | --- | --- |")
    worst = 0.0
    with torch.inference_mode():
        for name, network in build_networks(features).items():
            full, ratios = measure(network.to(args.device).eval(), patch, pairs=args.pairs, device=args.device)
            cells = [f"{median:.2f} ({low:.2f}-{high:.2f})" for low, median, high in ratios.values()]
            print(f"| {name} | {full:.3f} | {' | '.join(cells)} |", flush=True)
            if name == "parallel, logits":
                worst = ratios[1][1]
    print(f"\nparallel, logits, 1 of 4: {worst:.2f} of the full time (limit {LARGEST_RATIO:.2f})")
    return int(worst > LARGEST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
