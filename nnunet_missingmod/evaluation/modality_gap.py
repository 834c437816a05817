"""The modality gap: numbers that measure how far apart the modalities are in a network's latent space.

None of them changes if all latents are shifted, scaled or rotated together. A network that only shrinks its latents,
which lowers all distances and with them the alignment loss, is therefore not measured as aligned. The evaluation's
report shows the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A variance below this share of the mean square is a rounding error.
_ROUNDING = 1e-24


@dataclass(frozen=True)
class Latents:
    """The latents of each modality at the same voxels, (modalities, voxels, channels), and the case of each voxel."""

    values: NDArray[Any]
    modalities: tuple[str, ...]
    cases: NDArray[Any]

    def __post_init__(self) -> None:
        """Check that a gap can be computed.

        Raises:
            ValueError: the shapes do not fit each other, there are fewer than two modalities or voxels, or a value is
                not finite.
        """
        shape = self.values.shape
        if len(shape) != 3 or shape[0] != len(self.modalities) or self.cases.shape != shape[1:2]:
            raise ValueError(
                f"Latents are (modalities, voxels, channels) with a case for each voxel, got {shape} for "
                f"{len(self.modalities)} modalities and {self.cases.shape} cases."
            )
        if shape[0] < 2 or shape[1] < 2:
            raise ValueError(f"A gap needs two modalities and two voxels, got {shape[0]} and {shape[1]}.")
        if not np.isfinite(self.values).all():
            raise ValueError("Latents must be finite: leave out voxels at which a modality is absent.")

    def sample(self, voxels: int, *, seed: int = 0) -> Latents:
        """Return the latents at ``voxels`` voxels, drawn without replacement, or at all if there are not more."""
        if self.values.shape[1] <= voxels:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(self.values.shape[1], voxels, replace=False))
        return Latents(self.values[:, chosen], self.modalities, self.cases[chosen])


@dataclass(frozen=True)
class ModalityGap:
    """The gap of one network, in four numbers; see `modality_gap`."""

    explained_variance: float
    paired_distance: float
    centroid_distance: float
    probe_accuracy: float
    chance: float


def modality_gap(latents: Latents) -> ModalityGap:
    """Return how far apart the modalities lie. With z_jv the latent of modality j (of J) at voxel v:

    - ``explained_variance`` = sum_j |m_j - m|^2 / mean_v sum_j |z_jv - m|^2, the share of the latents' variance that
      the modality explains (eta squared), m_j the mean of modality j and m that of all. It is 0 if the modalities'
      means are equal, and 1 if a latent depends on nothing but its modality.
    - ``paired_distance`` = the mean over v and j < k of |z_jv - z_kv|^2, divided by the same for pairs of unrelated
      voxels, which is the variance about m_j plus the variance about m_k plus |m_j - m_k|^2. It is 0 if a voxel has the
      same latent in all modalities, and 1 if a voxel's latents are as far apart as those of any two voxels.
    - ``centroid_distance`` = the mean over j < k of |c_j - c_k|, in 0..2, c_j the mean over v of (z_jv - m) / |z_jv -
      m|. It is the modality gap of Liang et al. 2022 ("Mind the Gap") except for the subtraction of m.
    - ``probe_accuracy`` is the share of latents whose modality a linear classifier recognises, in cases that it was not
      fitted on (least squares on the odd ones of the sorted cases, tested on the even ones, and the other way round).
      It is NaN if there is a single case. ``chance`` is 1 / J.

    If the latents do not vary at all, all four are NaN.
    """
    values = latents.values.astype(np.float64)
    count = len(values)
    means = values.mean(axis=1)  # J x C
    centred = values - means.mean(axis=0)
    total = float(np.square(centred).sum(axis=-1).mean(axis=1).sum())
    if total <= _ROUNDING * float(np.square(values).sum(axis=-1).mean(axis=1).sum()):
        return ModalityGap(nan, nan, nan, nan, 1 / count)
    between = float(np.square(means - means.mean(axis=0)).sum())
    spread = np.square(values - means[:, None]).sum(axis=-1).mean(axis=1)  # J
    pairs = list(combinations(range(count), 2))
    paired = np.mean([np.square(values[j] - values[k]).sum(axis=-1).mean() for j, k in pairs])
    unpaired = np.mean([spread[j] + spread[k] + np.square(means[j] - means[k]).sum() for j, k in pairs])
    lengths = np.linalg.norm(centred, axis=-1, keepdims=True)
    units = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0).mean(axis=1)
    apart = float(np.mean([np.linalg.norm(units[j] - units[k]) for j, k in pairs]))
    return ModalityGap(
        explained_variance=between / total,
        paired_distance=float(paired / unpaired),
        centroid_distance=apart,
        probe_accuracy=_probe_accuracy(centred / np.sqrt(total), latents.cases),
        chance=1 / count,
    )


def _probe_accuracy(values: NDArray[np.float64], cases: NDArray[Any]) -> float:
    """Return the accuracy of a linear classifier of the modality, averaged over both halves of the cases."""
    names = np.unique(cases)
    if len(names) < 2:
        return nan
    odd = np.isin(cases, names[1::2])
    accuracies = []
    for fitted in (odd, ~odd):
        fitted_design, tested_design = _design(values[:, fitted]), _design(values[:, ~fitted])
        targets = np.repeat(np.eye(len(values)), int(fitted.sum()), axis=0)  # J N x J
        weights = np.linalg.lstsq(fitted_design, targets, rcond=None)[0]
        truth = np.repeat(np.arange(len(values)), int((~fitted).sum()))
        accuracies.append(float(np.mean(np.argmax(tested_design @ weights, axis=1) == truth)))
    return float(np.mean(accuracies))


def _design(values: NDArray[np.float64]) -> NDArray[np.float64]:
    flat = values.reshape(-1, values.shape[-1])  # J N x C
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
