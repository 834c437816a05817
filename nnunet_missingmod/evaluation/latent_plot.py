"""Latents of every modality in the plane (t-SNE), a panel per model, with the modality gap as numbers under each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.canvas import INK, line_colour, save_png
from nnunet_missingmod.evaluation.modality_gap import Latents, modality_gap

_PANEL = (3.4, 3.9)
_PERPLEXITY = 30.0


def latent_plot(latents: Mapping[str, Latents], path: Path, *, voxels: int = 250, seed: int = 0) -> None:
    """Draw a panel per model; a point is the latent of one modality at one voxel, its colour the modality.

    t-SNE (van der Maaten & Hinton 2008) keeps neighbours together and shows neither distances nor scale, so that the
    numbers beneath are what to compare; they come from all voxels given, the points from ``voxels`` of them at most.

    Raises:
        ValueError: there are no models, or their modalities differ.
    """
    if not latents:
        raise ValueError("There are no latents to draw.")
    modalities = next(iter(latents.values())).modalities
    if any(each.modalities != modalities for each in latents.values()):
        raise ValueError(f"Latents of one set of modalities are drawn, got {[e.modalities for e in latents.values()]}.")
    figure = Figure(figsize=(_PANEL[0] * len(latents), _PANEL[1]), layout="constrained")
    panels = figure.subplots(1, len(latents), squeeze=False)[0]
    for axes, (model, of_model) in zip(panels, latents.items(), strict=True):
        gap = modality_gap(of_model)
        for channel, points in enumerate(embed(of_model.sample(voxels, seed=seed), seed=seed)):
            axes.scatter(*points.T, s=5, color=line_colour(channel), alpha=0.7, linewidths=0)
        axes.set(xticks=[], yticks=[])
        axes.set_title(model, fontsize=10, color=INK, weight="bold")
        axes.set_xlabel(
            f"variance explained by the modality {gap.explained_variance:.2f}\n"
            f"distance at the same voxel / elsewhere {gap.paired_distance:.2f}\n"
            f"modality named by a linear probe {100 * gap.probe_accuracy:.0f} % (chance {100 * gap.chance:.0f} %)",
            fontsize=8.5,
            color=INK,
        )
    handles = [panels[0].scatter([], [], s=25, color=line_colour(i)) for i in range(len(modalities))]
    figure.legend(
        handles,
        modalities,
        loc="outside lower center",
        ncols=len(modalities),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    save_png(figure, path)


def embed(latents: Latents, *, seed: int = 0) -> NDArray[np.float64]:
    """Return the latents of all modalities in one plane, (modalities, voxels, channels) -> (modalities, voxels, 2).

    Latents that do not vary are one point.
    """
    from sklearn.manifold import TSNE

    modalities, voxels, channels = latents.values.shape
    points: NDArray[Any] = latents.values.reshape(-1, channels).astype(np.float64)
    points = points - points.mean(axis=0)
    if not points.any():
        return np.zeros((modalities, voxels, 2))
    # t-SNE computes in float32, in which the squares of small latents vanish.
    points /= points.std()
    # Of a few points, no more neighbours than a third can be asked for.
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    start = "pca" if channels > 1 else "random"
    components = TSNE(2, perplexity=perplexity, init=start, random_state=seed).fit_transform(points)
    return np.asarray(components, np.float64).reshape(modalities, voxels, 2)
