"""Checksums of a checkpoint: whatever part is damaged is named, and what torch reads is read no second time."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from nnunet_missingmod.training import checksums
from nnunet_missingmod.training.checkpoints import TornCheckpointError, read_checkpoint
from nnunet_missingmod.training.checksums import ChecksumError, SummedFile, check_sums

CONTENT = {
    "network_weights": {"weight": torch.arange(500_000.0), "empty": torch.zeros(0)},
    "trainer_name": "nnUNetTrainer",
    "init_args": {"fold": 0},
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "checkpoint_final.pth"
    torch.save(CONTENT, path)
    return path


def zipped(file, target, *, damaged=None, compression=zipfile.ZIP_STORED):
    """Zip a checkpoint anew; of one part, a bit is flipped after its sum was taken."""
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w", compression) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
        begins = {info.filename: info.header_offset + 30 + len(info.filename) for info in archive.infolist()}
    if damaged is not None:
        content = bytearray(target.read_bytes())
        content[begins[damaged] + 1] ^= 1
        target.write_bytes(content)
    return target


@pytest.mark.skipif(sys.platform != "linux", reason="counts the bytes that Linux handed out")
def test_a_checkpoint_is_read_once(file):
    def handed_out():
        return int(Path("/proc/self/io").read_text().split()[1])

    before = handed_out()
    read_checkpoint(file)
    assert handed_out() - before < 1.05 * file.stat().st_size


def test_what_torch_has_read_is_not_read_again(file, monkeypatch):
    again = []
    monkeypatch.setattr(checksums, "_read_through", lambda _archive, part: again.append(part.file_size))
    with SummedFile(file) as summed:
        read = torch.load(summed, weights_only=True)
        assert torch.equal(read["network_weights"]["weight"], CONTENT["network_weights"]["weight"])
        summed.check()
    assert sum(again) < 100  # bytes, of what torch has no use for


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_checkpoint_that_was_zipped_anew_is_read_as_it_was(file, tmp_path, compression):
    read = read_checkpoint(zipped(file, tmp_path / "anew.pth", compression=compression))
    assert torch.equal(read["network_weights"]["weight"], CONTENT["network_weights"]["weight"])


@pytest.mark.parametrize("part", ["data.pkl", "data/0", "version", ".data/serialization_id", "byteorder"])
def test_the_damaged_part_is_named_whether_torch_reads_it_or_not(file, tmp_path, part):
    damaged = zipped(file, tmp_path / "damaged.pth", damaged=f"checkpoint_final/{part}")
    with pytest.raises(ChecksumError, match=f"checkpoint_final/{part} in it is wrong"):
        check_sums(damaged)
    with pytest.raises(
        TornCheckpointError, match=rf"damaged\.pth is damaged: .* checkpoint_final/{part} in it is wrong"
    ):
        read_checkpoint(damaged)


def test_damage_to_compressed_parts_is_found(file, tmp_path):
    name = "checkpoint_final/data/0"
    damaged = zipped(file, tmp_path / "damaged.pth", damaged=name, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(TornCheckpointError):
        read_checkpoint(damaged)


def test_sums_of_parts_whose_names_do_not_match_are_not_compared(file, tmp_path):
    damaged = zipped(file, tmp_path / "damaged.pth", damaged="checkpoint_final/data/0")
    check_sums(damaged, of="*/data.pkl")


def test_a_disk_that_fails_while_torch_reads_says_what_is_wrong(file):
    with SummedFile(file) as summed:
        reader = torch._C.PyTorchFileReader(summed)
        unreadable = os.open(file, os.O_WRONLY)
        os.dup2(unreadable, summed.fileno())
        os.close(unreadable)
        with pytest.raises(OSError, match="Bad file descriptor"):
            reader.get_record("data/0")


def test_a_header_that_is_not_the_directorys_is_named(file):
    content = bytearray(file.read_bytes())
    content[content.index(b"checkpoint_final/data/0")] ^= 1
    file.write_bytes(content)
    with pytest.raises(ChecksumError, match="checkpoint_final/data/0"):
        SummedFile(file)
