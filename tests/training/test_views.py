"""A batch that shows its cases twice."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from nnunet_missingmod.training.term_trainer import TermTrainer
from nnunet_missingmod.training.views import twice


@pytest.mark.parametrize("samples", [None, [0, 2], [1]])
def test_samples_follow_one_another_twice(samples: list[int] | None) -> None:
    data, target = torch.randn(3, 4, 5, 5), torch.arange(3).reshape(3, 1, 1, 1)
    present = torch.rand(3, 4) > 0.5
    shown = twice(
        {"data": data, "target": [target, target + 10], "keys": "kept"},
        present,
        device=torch.device("cpu"),
        samples=samples,
    )
    of_them = samples or [0, 1, 2]
    for half in (slice(0, len(of_them)), slice(len(of_them), None)):
        assert torch.equal(shown["data"][half], data[of_them])
        assert torch.equal(shown["present"][half], present[of_them])
        assert torch.equal(shown["target"][1][half], target[of_them] + 10)
    assert shown["keys"] == "kept"
    assert torch.equal(
        twice({"data": data, "target": target}, present, device=torch.device("cpu"))["target"],
        target.repeat(2, 1, 1, 1),
    )


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_every_case_is_taught_and_in_both_views_where_a_share_is(make_tiny_dataset, make_method, monkeypatch, size):
    trainer = make_method("nnUNetTrainerHolderMISelf", make_tiny_dataset(), two_subsets=True, taught_share=0.5)
    trainer.current_epoch, trainer.loss = 0, SimpleNamespace()
    trainer._autocast = nullcontext
    taught = Counter()

    def teach(data, present, turn):
        views = data[turn].flatten(1)[:, 0].int().tolist()
        assert sorted(views) == sorted(2 * views[: len(views) // 2])
        taught.update(set(views))

    trainer.frozen_teacher = teach
    teach.counts = lambda present: present.all(1)
    monkeypatch.setattr(TermTrainer, "train_step", lambda self, batch: {})
    for _step in range(2 * size * size):
        data = torch.arange(size).reshape(size, 1, 1, 1).expand(size, 4, 2, 2).float()
        trainer.train_step({"data": data, "target": data, "present": torch.ones(size, 4, dtype=torch.bool)})
    assert sorted(taught) == list(range(size))


@pytest.mark.usefixtures("attached")
def test_a_training_shows_half_of_the_cases_with_subsets_of_their_own(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset()
    preprocess(tiny, "2d")
    trainer = make_method("nnUNetTrainerM3AE", tiny, configuration="2d")
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    seen = []
    trainer.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()), prepend=True)
    batch = next(trainer.dataloader_train)
    of_batch, taken = list(batch["data"].clone()), []
    for _step in range(2):
        trainer.train_step(dict(batch))
        shown = seen.pop()
        assert len(shown) == len(of_batch)
        one, other = shown.chunk(2)
        both = ~one.isnan() & ~other.isnan()
        assert torch.equal(one[both], other[both])
        assert not torch.equal(one.isnan(), other.isnan())
        assert trainer.loss.values[-1]["subset_consistency"] > 0
        taken += [next(n for n, case in enumerate(of_batch) if torch.equal(case[seen], view[seen]))
                  for view in one for seen in [~view.isnan()]]  # fmt: skip
    # Those with foreground, which nnU-Net puts at the end, have their turn.
    assert sorted(taken) == list(range(len(of_batch)))
