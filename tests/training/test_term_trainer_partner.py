"""A partner learns beside the network: from all modalities, saved for --c, and not in the weights that predict."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.networks.backbone import unwrapped

EVERYTHING = {"entropy_adversarial": True, "knowledge_adversarial": True}


@pytest.fixture
def tiny(make_tiny_dataset, preprocess):
    tiny = make_tiny_dataset()
    preprocess(tiny, "2d")
    return tiny


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("name", ["nnUNetTrainerACN", "nnUNetTrainerACNMedMAP", "nnUNetTrainerSMUNet"])
def test_the_partner_sees_what_is_dropped_and_the_network_does_not(tiny, make_method, name):
    trainer = make_method(name, tiny, configuration="2d")
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    seen = {}
    for who, network in (("network", unwrapped(trainer.network)), ("partner", trainer.terms.partner_network)):
        network.register_forward_pre_hook(
            lambda module, inputs, who=who: seen.__setitem__(who, ~inputs[0].isnan().flatten(2).any(2)), prepend=True
        )
    trainer.dropout.sample = lambda present: torch.tensor([[True, False, False, True]] * len(present)).numpy()
    before = [parameter.clone() for parameter in trainer.terms.partner_network.parameters()]
    trainer.train_step(next(trainer.dataloader_train))
    assert seen["partner"].all()
    assert seen["network"][:, [0, 3]].all()
    assert not seen["network"][:, [1, 2]].any()
    after = trainer.terms.partner_network.parameters()
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True) if new.grad is not None)
    own = set(unwrapped(trainer.network).state_dict())
    assert set(trainer.terms.partner_network.state_dict()) == own
    assert not any("partner" in key for key in own)


@pytest.mark.usefixtures("attached")
def test_a_training_that_is_cut_off_goes_on_bit_for_bit_with_its_adversaries(tiny, make_method):
    whole = make_method("nnUNetTrainerACN", tiny, configuration="2d", num_epochs=2, **EVERYTHING)
    whole.on_train_start()
    batches = [next(whole.dataloader_train) for _ in range(4)]

    def run(trainer, chosen):
        trainer.on_train_epoch_start()
        for batch in chosen:
            trainer.train_step({name: value for name, value in batch.items()} | {"data": batch["data"].clone()})

    run(whole, batches[:2])
    whole.save_checkpoint(f"{whole.output_folder}/checkpoint_latest.pth")
    run(whole, batches[2:])
    resumed = make_method("nnUNetTrainerACN", tiny, configuration="2d", num_epochs=2, **EVERYTHING)
    resumed.load_checkpoint(f"{whole.output_folder}/checkpoint_latest.pth")
    resumed.on_train_start()
    resumed.current_epoch = whole.current_epoch
    run(resumed, batches[2:])
    for ours, theirs in ((whole.network, resumed.network), (whole.terms, resumed.terms)):
        left, right = ours.state_dict(), theirs.state_dict()
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left if isinstance(left[name], torch.Tensor))


@pytest.mark.usefixtures("attached")
def test_consistency_has_its_ramp(tiny, make_method):
    trainer = make_method("nnUNetTrainerACN", tiny, configuration="2d", consistency_ramp_epochs=2)
    trainer.on_train_start()
    weights = []
    for epoch in range(4):
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        weights.append(trainer.terms.weights["consistency"])
    assert weights[0] == pytest.approx(12.5 * 2.718281828**-5)
    assert weights[1] == pytest.approx(12.5 * 2.718281828**-1.25)
    assert weights[2:] == [12.5, 12.5]
