"""A batch that shows its cases twice."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.training.views import twice


@pytest.mark.parametrize("samples", [None, 2])
def test_the_first_samples_follow_one_another_twice(samples: int | None) -> None:
    data, target = torch.randn(3, 4, 5, 5), torch.arange(3).reshape(3, 1, 1, 1)
    present = torch.rand(3, 4) > 0.5
    shown = twice(
        {"data": data, "target": [target, target + 10], "keys": "kept"},
        present,
        device=torch.device("cpu"),
        samples=samples,
    )
    count = samples or 3
    for half in (slice(0, count), slice(count, None)):
        assert torch.equal(shown["data"][half], data[:count])
        assert torch.equal(shown["present"][half], present[:count])
        assert torch.equal(shown["target"][1][half], target[:count] + 10)
    assert shown["keys"] == "kept"
    assert torch.equal(
        twice({"data": data, "target": target}, present, device=torch.device("cpu"))["target"],
        target.repeat(2, 1, 1, 1),
    )


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
    count = (len(batch["data"]) + 1) // 2
    trainer.train_step(batch)
    (shown,) = seen
    assert len(shown) == 2 * count
    one, other = shown[:count], shown[count:]
    both = ~one.isnan() & ~other.isnan()
    assert torch.equal(one[both], other[both])
    assert not torch.equal(one.isnan(), other.isnan())
    assert trainer.loss.values[-1]["subset_consistency"] > 0
