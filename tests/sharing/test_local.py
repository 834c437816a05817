"""What is given as a model becomes a folder whose files are those that were shared, in the cache or for one run."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nnunet_missingmod.evaluation.model_card import FILE_NAME
from nnunet_missingmod.sharing import local
from nnunet_missingmod.sharing.local import cache_folder, local_folder
from nnunet_missingmod.sharing.manifest import MANIFEST, SharedModelError

WEIGHTS = "fold_0/checkpoint_final.safetensors"

pytestmark = pytest.mark.usefixtures("cache")


def test_a_zip_is_unpacked_into_the_cache_under_its_manifests_sum(shared, cache, manifest, files):
    folder = local_folder(shared)
    assert folder == cache / manifest.digest / manifest.model
    assert {name: (folder / name).read_bytes() for name in files} == files
    assert [path.name for path in cache.iterdir()] == [manifest.digest]


def test_the_second_time_nothing_is_written(shared, cache):
    folder = local_folder(shared)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    assert local_folder(str(shared)) == folder
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_sums_are_computed_once_and_again_for_what_was_written_since(shared, monkeypatch):
    folder, looked_at = local_folder(shared), []
    problem_of = local.problem_of
    monkeypatch.setattr(local, "problem_of", lambda *args, **named: looked_at.append(1) or problem_of(*args, **named))
    for _ in range(3):
        assert local_folder(folder) == folder
    assert len(looked_at) == 1
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(bytes(len(content)))
    with pytest.raises(SharedModelError, match="another SHA-256"):
        local_folder(folder)


@pytest.mark.parametrize("damage", [b"x", None], ids=["changed", "removed"])
def test_a_copy_that_was_damaged_is_made_again(shared, cache, files, damage):
    file = local_folder(shared) / WEIGHTS
    file.unlink() if damage is None else file.write_bytes(damage)
    assert local_folder(shared) == file.parents[1]
    assert file.read_bytes() == files[WEIGHTS]
    assert len(list(cache.iterdir())) == 1


@pytest.fixture
def put_beside(shared, tmp_path):
    """Return a function that puts a file into the folder of a fold, which may be a link."""

    def put(name, folder):
        if name == "fold_2/checkpoint_final.pth":
            (tmp_path / "elsewhere").mkdir()
            (folder / "fold_2").symlink_to(tmp_path / "elsewhere")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"weights")

    return put


FOREIGN = (
    *("fold_1/checkpoint_final.pth", "fold_all/checkpoint_final.safetensors", "fold_2/checkpoint_final.pth"),
    *("fold_0/checkpoint_final.pth", "fold_0/checkpoint_best.safetensors", "fold_0/any.bin"),
)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_copy_that_a_file_was_put_into_is_made_again(shared, cache, files, put_beside, name):
    folder = local_folder(shared)
    put_beside(name, folder)
    assert local_folder(shared) == folder
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {*files, MANIFEST}
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_beside_those_of_an_unpacked_model_is_refused_by_name(shared, tmp_path, put_beside, name):
    folder = tmp_path / "by_hand"
    with zipfile.ZipFile(shared) as archive:
        archive.extractall(folder)
    assert local_folder(folder) == folder
    put_beside(name, folder)
    with pytest.raises(SharedModelError, match=f"it also has {name}. Unpack the model again, into an empty folder"):
        local_folder(folder)


def test_what_systems_and_evaluations_leave_in_a_folder_does_no_harm(shared):
    folder = local_folder(shared)
    (folder / "fold_0" / "validation").mkdir()
    for name in ("fold_0/.DS_Store", "fold_0/._checkpoint_final.safetensors", ".gitattributes", FILE_NAME):
        (folder / name).write_bytes(b"x")
    assert local_folder(folder) == folder
    assert local_folder(shared) == folder
    assert (folder / "fold_0/.DS_Store").exists()


def test_a_card_of_ones_own_evaluation_stays(shared, cache):
    card = local_folder(shared) / FILE_NAME
    card.write_bytes(b"of my own cases")
    assert (local_folder(shared) / FILE_NAME).read_bytes() == b"of my own cases"


def test_many_at_once_unpack_one_copy(shared, cache, manifest, files):
    with ThreadPoolExecutor(8) as threads:
        folders = set(threads.map(local_folder, [shared] * 16))
    assert folders == {cache / manifest.digest / manifest.model}
    assert (folders.pop() / WEIGHTS).read_bytes() == files[WEIGHTS]
    assert [path.name for path in cache.iterdir()] == [manifest.digest]


def test_a_zip_that_is_refused_leaves_nothing_in_the_cache(changed, cache):
    with pytest.raises(SharedModelError):
        local_folder(changed({WEIGHTS: b"x" * 256 * 20}))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("variables", [{"XDG_CACHE_HOME": "{file}"}, {}], ids=["not writable", "no home"])
def test_without_a_cache_the_copy_is_for_one_run(shared, tmp_path, files, variables):
    (tmp_path / "file").touch()  # in the place of the cache's folder
    code = (
        "import os, sys; from pathlib import Path; from nnunet_missingmod.sharing.local import local_folder;"
        "os.getuid = lambda: 2**31 - 9;"  # of a user who has no entry in the table of users, as in a container
        "first, second = local_folder(sys.argv[1]), local_folder(sys.argv[1]); assert first == second;"
        f"assert (first / {WEIGHTS!r}).stat().st_size == {len(files[WEIGHTS])}; print(first)"
    )
    environment = {name: value.format(file=tmp_path / "file") for name, value in variables.items()}
    done = subprocess.run(
        [sys.executable, "-c", code, str(shared)],
        env={**environment, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert folder.name.startswith("nnUNetTrainerModalityDropout__")
    assert not folder.parent.exists(), "it outlives its process"


def test_the_cache_is_where_the_desktop_standard_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache_folder() == tmp_path / ".cache/nnunet_missingmod/models"


def test_a_folder_stays_what_it_is(tmp_path):
    assert local_folder(tmp_path) == tmp_path
    for nothing in (tmp_path / "nothing", tmp_path / ("x" * 5000)):
        assert local_folder(nothing) == nothing


def test_a_folder_that_was_unpacked_by_hand_is_checked_where_it_is(shared, tmp_path, cache):
    folder = tmp_path / "by_hand"
    with zipfile.ZipFile(shared) as archive:
        archive.extractall(folder)
    assert local_folder(folder) == folder
    assert not cache.exists()
    (folder / "README.md").write_text("edited")
    assert local_folder(folder) == folder
    (folder / WEIGHTS).write_bytes(b"")
    with pytest.raises(SharedModelError, match=f"{WEIGHTS} has 0 bytes, not 5120. Unpack the model again"):
        local_folder(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.zip", "A model in a folder is given by its folder"),
        ("checkpoint_final.pth", "give the folder of its model"),
    ],
)
def test_a_file_that_is_no_zip_says_what_a_model_is(tmp_path, name, said):
    (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(SharedModelError, match=said):
        local_folder(tmp_path / name)
