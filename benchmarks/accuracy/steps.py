"""Training steps that were tried in the study and are not part of the package: mixins over its trainers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunet_missingmod.absence import BoolArray
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.training.views import twice


class TwoViews:
    """Show every case twice in a step: with a random subset of its modalities, and with all of them.

    The batch has both views, 2B, so a step costs twice as much; the teacher's word counts for both.
    """

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take the step on both views."""
        trainer: Any = self
        views = twice(batch, trainer._present(batch), device=trainer.device)
        step: dict[str, Any] = super().train_step(views)  # type: ignore[misc]
        return step

    def _build_dropout(self) -> Any:
        dropout: Any = super()._build_dropout()  # type: ignore[misc]
        sample = dropout.sample

        def sample_first_view(present: BoolArray) -> BoolArray:
            half = len(present) // 2
            return np.concatenate([sample(present[:half]), present[half:]])

        dropout.sample = sample_first_view
        return dropout


class HardSubsets:
    """Draw subsets in proportion to a power of their running cross-entropy in training, one tenth of them uniformly.

    With e_s the exponential moving average (0.99 per sample) of subset s's mean cross-entropy, 1 at first::

        p_s = 0.9 * e_s^POWER / sum_t e_t^POWER + 0.1 / (2^J - 1)
    """

    POWER = 2.0

    def _build_dropout(self) -> Any:
        dropout: Any = super()._build_dropout()  # type: ignore[misc]
        trainer: Any = self
        modalities = len(trainer.modality_names)
        subsets = all_subsets(modalities)
        self.masks = np.zeros((len(subsets), modalities), dtype=bool)
        for row, subset in enumerate(subsets):
            self.masks[row, list(subset)] = True
        self.difficulty = np.ones(len(subsets))
        self.drawn = np.zeros(0, dtype=int)

        def sample(present: BoolArray) -> BoolArray:
            weights = self.difficulty**self.POWER
            probability = 0.9 * weights / weights.sum() + 0.1 / len(weights)
            # Of the subsets that a case has something of.
            of_each = [probability * (self.masks & row).any(1) for row in present]
            drawn = [dropout._rng.choice(len(weights), p=chances / chances.sum()) for chances in of_each]
            self.drawn = np.array(drawn)
            return self.masks[self.drawn] & present

        dropout.sample = sample
        return dropout

    def on_train_start(self) -> None:
        """Start, and from now on look at what each sample's subset costs."""
        super().on_train_start()  # type: ignore[misc]
        trainer: Any = self
        trainer.loss.terms.register_forward_hook(self._look)

    def _look(self, _module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        (logits, _features), target = inputs[:2]
        logits, labels = (value[0] if isinstance(value, list) else value for value in (logits, target))
        for subset, loss in zip(self.drawn, cross_entropy_per_sample(logits, labels), strict=True):
            self.difficulty[subset] = 0.99 * self.difficulty[subset] + 0.01 * loss

    def on_train_epoch_end(self, outputs: list[dict[str, Any]]) -> None:
        """Log the difficulties."""
        super().on_train_epoch_end(outputs)  # type: ignore[misc]
        trainer: Any = self
        trainer.print_to_log_file("difficulty", np.round(self.difficulty, 3).tolist())


def cross_entropy_per_sample(logits: Tensor, labels: Tensor) -> list[float]:
    """Return the mean cross-entropy of each sample; logits (B, K, H, W), labels (B, 1, H, W)."""
    voxels = torch.nn.functional.cross_entropy(logits.detach().float(), labels[:, 0].long(), reduction="none")
    values: list[float] = voxels.flatten(1).mean(1).tolist()
    return values


class Pairs:
    """Compare the halves of a batch that shows its cases twice, with two subsets (the plans' key ``two_subsets``)."""

    WEIGHT = 1.0

    def on_train_start(self) -> None:
        """Start, and from now on add the term."""
        super().on_train_start()  # type: ignore[misc]
        trainer: Any = self
        trainer.loss.terms.register_forward_hook(self._add)

    def _add(self, _module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        (logits, _features), target = inputs[:2]
        logits, labels = (value[0] if isinstance(value, list) else value for value in (logits, target))
        total, values = output
        return total + self.WEIGHT * self.compare(logits.float(), labels), values

    def compare(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the term of logits (B, K, H, W), whose halves are the two views."""
        raise NotImplementedError


class Ranking(Pairs):
    """More must not be worse: hinge on the cross-entropy of a subset with one more modality above that without it.

    The subset without it has no gradient, which would be a reward for being bad at it.
    """

    def _build_dropout(self) -> Any:
        dropout: Any = super()._build_dropout()  # type: ignore[misc]
        sample = dropout.sample

        def sample_with_one_more(present: BoolArray) -> BoolArray:
            half = len(present) // 2
            fewer = sample(present[:half])
            more = fewer.copy()
            for row, has in zip(more, present[:half], strict=True):
                left = np.flatnonzero(has & ~row)
                if len(left):
                    row[dropout._rng.choice(left)] = True
            return np.concatenate([fewer, more])

        dropout.sample = sample_with_one_more
        return dropout

    def compare(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean hinge over the pairs."""
        voxels = torch.nn.functional.cross_entropy(logits, labels[:, 0].long(), reduction="none")
        fewer, more = voxels.flatten(1).mean(1).chunk(2)
        return torch.relu(more - fewer.detach()).mean()


class Consistency(Pairs):
    """Two random subsets of a case agree: symmetric Kullback-Leibler divergence of their posteriors."""

    def compare(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean divergence over the pairs and voxels."""
        one, other = logits.log_softmax(1).chunk(2)
        return ((one.exp() - other.exp()) * (one - other)).sum(1).mean() / 2


class Probe:
    """Train the layers that make the output, and nothing before them: how much is in features that stay as they are."""

    def on_train_start(self) -> None:
        """Freeze what is not of the output, and start."""
        super().on_train_start()  # type: ignore[misc]
        trainer: Any = self
        for name, parameter in trainer.network.named_parameters():
            parameter.requires_grad_(".seg_layers." in name)


STEPS = {
    "probe": Probe,
    "ranking": Ranking,
    "consistency": Consistency,
    "two_views": TwoViews,
    "hard_subsets": HardSubsets,
}
