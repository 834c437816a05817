"""Training on cases that lack modalities, with every trainer: what is drawn, taught, validated and told."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_missingmod import absence
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.training.presence import Presence, read_presence

TRAINERS = [name for name in CLASS_TABLE if name.startswith("nnUNetTrainer")]
NAMES = ("FLAIR", "T1", "T1ce", "T2")
# What each case lacks: nothing, or channels.
LACKING = {"case_000": (), "case_001": (0,), "case_002": (1, 3), "case_003": (0, 1, 2)}


@pytest.fixture
def incomplete(make_tiny_dataset, preprocess):
    """Return a function that preprocesses a tiny dataset whose cases lack the given channels."""

    def make(lacking=LACKING, *, configuration="3d_fullres", **more):
        tiny = make_tiny_dataset(num_cases=len(lacking), **more)
        for case, channels in lacking.items():
            for channel in channels:
                tiny.image(case, channel).unlink()
        preprocess(tiny, configuration, preprocessor="MissingModPreprocessor")
        splits = [{"train": tiny.cases[:-1], "val": tiny.cases[-2:]}]
        (tiny.preprocessed / "splits_final.json").write_text(json.dumps(splits))
        return tiny

    return make


def stand_in(folder, records, channels=4):
    """Preprocessed cases as ``read_presence`` sees them: {case: recorded modalities, or None for no record}."""
    for case, present in records.items():
        properties = {} if present is None else {"missingmod": {"present": present}}
        (folder / f"{case}.pkl").write_bytes(pickle.dumps(properties))
    return SimpleNamespace(
        source_folder=str(folder), identifiers=list(records), load_case=lambda case: (np.zeros((channels, 1, 1, 1)), {})
    )


def test_presence_is_what_the_preprocessor_recorded_in_any_order_of_names(tmp_path):
    cases = stand_in(tmp_path, {"a": ["T2", "FLAIR"], "b": ["T1"], "c": None})
    found = read_presence(cases, NAMES)
    assert found.present.tolist() == [[True, False, False, True], [False, True, False, False], [True] * 4]
    assert found.num_complete == 1


def test_cases_that_the_hosts_preprocessor_took_for_fewer_channels_are_refused_with_the_command(tmp_path):
    cases = stand_in(tmp_path, {"a": None}, channels=3)
    with pytest.raises(ValueError, match=r"'a' was preprocessed with 3 channels.*nnunet_missingmod plan -d DATASET"):
        read_presence(cases, NAMES)


@pytest.mark.parametrize("record", [{"present": ["FLAIR", "T1Gd"]}, {"present": ["FLAIR"], "blank": ["T1Gd"]}])
def test_data_of_before_a_channel_was_renamed_do_not_count_as_absent(tmp_path, record):
    cases = stand_in(tmp_path, {"a": ["FLAIR"], "b": []})
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"missingmod": record}))
    with pytest.raises(ValueError, match="'b' was preprocessed when a channel was called T1Gd; now the channels are "):
        read_presence(cases, NAMES)


def test_a_training_on_such_data_does_not_start(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset()
    tiny.image(tiny.cases[0], 1).unlink()
    preprocess(tiny, "3d_fullres", preprocessor="DefaultPreprocessor")
    trainer = make_method("nnUNetTrainerModalityDropout", tiny)
    with pytest.raises(ValueError, match=r"Case 'case_000' was preprocessed with 3 channels"):
        trainer.run_training()
    assert trainer.dataloader_train is None


def test_the_report_counts_cases_per_modality_and_warns_of_one_that_nobody_has():
    assert not list(Presence(NAMES, np.ones((3, 4), dtype=bool)).report())
    present = np.array([[1, 1, 1, 0], [0, 1, 1, 0]], dtype=bool)
    counts, warning = Presence(NAMES, present).report()
    assert counts == "0 of 2 training cases have all modalities. Cases per modality: FLAIR 1, T1 2, T1ce 2, T2 0."
    assert warning == "WARNING: no training case has T2: the model will not know what to do with it."


def test_the_report_of_teaching_counts_complete_cases():
    present = np.array([[1, 1], [0, 1], [1, 1]], dtype=bool)
    (said,) = Presence(("A", "B"), present).report_teaching(["divergence"])
    assert said.startswith("The teacher teaches the 2 of 3 training cases")
    assert said.endswith("of the others, these terms are left out: divergence.")
    (said,) = Presence(("A", "B"), present[1:2]).report_teaching(["divergence"])
    assert said.startswith("WARNING: The teacher teaches the 0 of 1")
    assert not list(Presence(("A", "B"), present[:1]).report_teaching(["divergence"]))
    assert not list(Presence(("A", "B"), present).report_teaching([]))


def test_every_trainer_trains_and_validates_on_incomplete_cases(incomplete, make_method, train_teacher, capsys):
    tiny = incomplete(configuration="2d")
    for teacher in ("nnUNetTrainerMedMAPTeacher", "nnUNetTrainerMedMAPTeacherParallel"):
        train_teacher(tiny, teacher, configuration="2d")
    assert len(TRAINERS) >= 25
    for name in TRAINERS:
        capsys.readouterr()
        trainer = make_method(
            name, tiny, configuration="2d", num_iterations_per_epoch=1, num_val_iterations_per_epoch=1
        )
        trainer.run_training()
        log = capsys.readouterr().out
        assert "1 of 3 training cases have all modalities. Cases per modality: FLAIR 2, T1 2, T1ce 3, T2 2." in log, (
            name
        )
        assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values()), name
        assert np.isfinite(trainer.logger.get_value("train_losses", -1)), name
        assert np.isfinite(trainer.logger.get_value("val_losses", -1)), name
        # A network's own average teaches incomplete cases too.
        taught = getattr(trainer, "frozen_teacher", None) is not None and trainer.average is None
        assert ("The teacher teaches the 1 of 3 training cases" in log) == taught, name


def test_training_and_validation_show_the_network_only_what_a_case_has(incomplete, make_method):
    tiny = incomplete()
    # It draws the cases of the batches; rarely 20 of them show FLAIR and T1 together in none.
    np.random.seed(0)  # noqa: NPY002
    trainer = make_method("nnUNetTrainerModalityDropout", tiny, num_iterations_per_epoch=20)
    trainer.initialize()
    seen = {"train": set(), "validation": set()}

    def look(network, inputs):
        seen["train" if network.training else "validation"].update(map(tuple, absence.read(inputs[0]).tolist()))

    trainer.network.register_forward_pre_hook(look, prepend=True)  # before absent channels are filled
    trainer.run_training()
    has = {case: [channel not in lacking for channel in range(4)] for case, lacking in LACKING.items()}

    def within(row, case):
        return all(there or not shown for shown, there in zip(row, has[case], strict=True))

    assert all(any(row) for rows in seen.values() for row in rows)
    # FLAIR and T1 together are in the complete case alone, which is in training and not in validation.
    assert any(row[0] and row[1] for row in seen["train"])
    assert all(within(row, "case_002") or within(row, "case_003") for row in seen["validation"])
    assert len(seen["validation"]) > 1


def step_of(trainer, batch, kept):
    """Take one step on a batch whose dropout is fixed; return the values of the terms and the gradients."""
    trainer.dropout.sample = lambda present: np.array(kept) & present
    trainer.optimizer.step = lambda: None
    torch.manual_seed(0)  # for the voxels on which mutual information is estimated
    trainer.train_step({"data": batch["data"].clone(), "target": [level.clone() for level in batch["target"]]})
    values = {name: float(value) for name, value in trainer.loss.values[-1].items()}
    return values, [p.grad.clone() for p in trainer.network.parameters() if p.grad is not None]


# Stock nnU-Net's network turns an absent channel into NaN; ours fill it. Neither may reach the student.
@pytest.mark.parametrize("teacher", ["nnUNetTrainer", "nnUNetTrainerMedMAPTeacher"])
def test_a_batchs_distillation_terms_are_those_of_its_complete_cases(incomplete, make_method, train_teacher, teacher):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    tiny = incomplete({"case_000": (), "case_001": (), "case_002": ()})
    if teacher == "nnUNetTrainer":
        plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
        stock = nnUNetTrainer(plans, "3d_fullres", 0, tiny.dataset_json, torch.device("cpu"))
        stock.num_epochs, stock.num_iterations_per_epoch, stock.num_val_iterations_per_epoch = 1, 1, 1
        stock.run_training()
    else:
        train_teacher(tiny)
    trainer = make_method(
        "nnUNetTrainerHolderMI", tiny, teacher=teacher, initial_weights="random", modality_dropout_seed=1
    )
    torch.manual_seed(0)
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    batch = next(trainer.dataloader_train)
    kept = [[False, True, True, False], [True, False, True, True]]
    first = {"data": batch["data"][:1], "target": [level[:1] for level in batch["target"]]}
    alone, _ = step_of(trainer, first, kept[:1])
    batch["data"][1, 1] = torch.nan  # what dropout would have removed from the second sample: it is not there at all
    both, gradients = step_of(trainer, batch, kept)
    for term in ("divergence", "mutual_information"):
        assert both[term] == pytest.approx(alone[term], rel=1e-4), term
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert trainer.samples_taught == (2, 3)
    batch["data"][0, 0] = torch.nan
    none, gradients = step_of(trainer, batch, kept)
    assert (none["divergence"], none["mutual_information"]) == (0, 0)
    assert none["segmentation"] == pytest.approx(both["segmentation"])
    assert none["alignment"] == pytest.approx(both["alignment"])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_the_log_says_how_many_samples_were_taught(incomplete, make_method, train_teacher, capsys):
    tiny = incomplete()
    train_teacher(tiny)
    trainer = make_method("nnUNetTrainerHolderMI", tiny, num_iterations_per_epoch=6)
    trainer.run_training()
    taught, samples = trainer.samples_taught
    assert samples == 12
    assert 0 < taught < 12
    assert f"The teacher had {taught} of 12 samples with all of its modalities." in capsys.readouterr().out


def test_a_cascades_second_stage_trains_on_incomplete_cases(incomplete, make_method, capsys):
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    tiny = incomplete()
    trainer = make_method("nnUNetTrainerModalityDropout", tiny, configuration="3d_cascade_fullres")
    folder = Path(trainer.folder_with_segs_from_previous_stage)
    folder.mkdir(parents=True)
    data = tiny.preprocessed / "nnUNetPlans_3d_fullres"
    for case in tiny.cases:
        segmentation = nnUNetDatasetBlosc2(str(data), [case]).load_case(case)[1][:]
        nnUNetDatasetBlosc2.save_seg(np.maximum(segmentation[0], 0).astype(np.int8), str(folder / case))
    trainer.run_training()
    assert "than prediction will." in capsys.readouterr().out
    assert trainer.training_presence.present.shape == (3, 4), "the previous stage's channels are no modalities"
    assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values())


def test_the_preprocessed_cases_say_what_they_have_on_disk(incomplete):
    tiny = incomplete()
    for case, lacking in LACKING.items():
        properties = pickle.loads((tiny.preprocessed / "nnUNetPlans_3d_fullres" / f"{case}.pkl").read_bytes())
        assert properties["missingmod"]["present"] == [n for c, n in enumerate(NAMES) if c not in lacking]


def test_final_validation_predicts_incomplete_cases(incomplete, make_method, monkeypatch):
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host_module

    tiny = incomplete()
    references = tiny.preprocessed / "gt_segmentations"
    references.mkdir()
    for case in tiny.cases:
        (references / tiny.label(case).name).write_bytes(tiny.label(case).read_bytes())
    trainer = make_method("nnUNetTrainerModalityDropout", tiny)
    trainer.run_training()
    exported = {}

    class Pool:
        """nnU-Net's pool of exporting processes, in this one."""

        _pool = ()

        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def starmap_async(self, function, jobs):
            for logits, *others in jobs:
                exported[Path(others[4]).name] = logits
                function(logits, *others)
            return SimpleNamespace(get=lambda: None)

    monkeypatch.setattr(
        host_module,
        "multiprocessing",
        SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=Pool)),
    )
    monkeypatch.setattr(host_module, "check_workers_alive_and_busy", lambda *_, **__: False)
    summary = {"mean": {}, "foreground_mean": {"Dice": 0.5}}
    monkeypatch.setattr(host_module, "compute_metrics_on_folder", lambda *_, **__: summary)
    trainer.perform_actual_validation()
    assert set(exported) == {"case_002", "case_003"}
    assert all(torch.isfinite(logits).all() for logits in exported.values())
    written = {file.name for file in (Path(trainer.output_folder) / "validation").glob("*.nii.gz")}
    assert written == {"case_002.nii.gz", "case_003.nii.gz"}


@pytest.fixture
def gaps_of_zeros(make_tiny_dataset, preprocess):
    """A dataset whose gaps were filled with images of zeros, as nnU-Net's own preprocessor writes it."""
    tiny = make_tiny_dataset(num_cases=3, schemes=["CTNormalization"] * 4)
    for case, channels in {"case_000": (1,), "case_001": (0, 3), "case_002": (2,)}.items():
        for channel in channels:
            image = sitk.ReadImage(str(tiny.image(case, channel))) * 0
            sitk.WriteImage(image, str(tiny.image(case, channel)))
    preprocess(tiny, "3d_fullres", preprocessor="DefaultPreprocessor")
    return tiny


def test_images_of_zeros_that_the_hosts_preprocessor_wrote_are_absent_in_training(gaps_of_zeros, make_method, capsys):
    trainer = make_method("nnUNetTrainerZeroFill", gaps_of_zeros, num_iterations_per_epoch=6)
    seen = set()
    trainer.initialize()
    trainer.network.register_forward_pre_hook(
        lambda _, inputs: seen.update(map(tuple, absence.read(inputs[0]).tolist())), prepend=True
    )
    trainer.run_training()
    assert seen == {(True, False, True, True), (False, True, True, False), (True, True, False, True)}
    assert trainer.training_presence.present.tolist() == [[True, False, True, True], [False, True, True, False]]
    log = capsys.readouterr().out
    assert "0 of 2 training cases have all modalities. Cases per modality: FLAIR 1, T1 1, T1ce 2, T2 1." in log
    assert "Blank files count as absent (blank_is_absent) in 2 training cases: FLAIR 1, T1 1, T2 1." in log
    opened = trainer.dataset_class(trainer.preprocessed_dataset_folder, ["case_002"])  # as nnU-Net's validation does
    assert absence.read_case(opened.load_case("case_002")[0][:]).tolist() == [True, True, False, True]
    assert pickle.loads(pickle.dumps(opened)).load_case("case_002")[3] is not None  # a spawned worker gets a copy


def test_images_of_zeros_are_images_where_the_user_says_so(gaps_of_zeros, make_method):
    trainer = make_method("nnUNetTrainerModalityDropout", gaps_of_zeros, blank_is_absent=False)
    trainer.initialize()
    trainer.on_train_start()
    assert trainer.training_presence.present.all()


def test_blank_files_that_our_preprocessor_found_are_told_too(tmp_path):
    cases = stand_in(tmp_path, {"a": ["T2", "FLAIR"]})
    properties = {"missingmod": {"present": ["T2", "FLAIR"], "blank": ["T1"]}}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(properties))
    found = read_presence(cases, NAMES)
    assert found.blank.tolist() == [[False, True, False, False]]
    assert "Blank files count as absent (blank_is_absent) in 1 training cases: T1 1." in list(found.report())
