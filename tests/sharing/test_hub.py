"""Models of the Hub, fetched by the Hub's own client from a server of this machine that answers as the Hub does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import COMMIT, environment_of, serving

from nnunet_missingmod.sharing.hub import HubModel, parse_address
from nnunet_missingmod.sharing.manifest import MANIFEST, SharedModelError

pytest.importorskip("huggingface_hub")

WEIGHTS = "fold_0/checkpoint_final.safetensors"


@pytest.fixture
def hub(files, manifest):
    with serving({**files, MANIFEST: manifest.content}) as server:
        yield server


@pytest.fixture
def fetch(hub, tmp_path):
    """Return a function that asks for a model in another process, which is how the client learns of another Hub."""

    def run(address, **variables):
        code = "import sys; from nnunet_missingmod.sharing.local import local_folder; print(local_folder(sys.argv[1]))"
        environment = environment_of(hub, tmp_path) | variables
        return subprocess.run(
            [sys.executable, "-c", code, address], env=environment, capture_output=True, text=True, check=False
        )

    return run


def folder_of(done):
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def test_addresses():
    assert parse_address("hf://user/name@v1.0") == HubModel("user/name", "v1.0")
    assert parse_address("hf://user/name") == HubModel("user/name", "main")
    assert parse_address(Path("hf://user/name@refs/pr/1")) == HubModel("user/name", "refs/pr/1")
    assert parse_address("folder/model.zip") is None
    assert str(HubModel("user/name", "main")) == "hf://user/name@main"


@pytest.mark.parametrize(
    "address", ["hf://", "hf://name", "hf://a/b/c", "hf://a/b@", "hf://a/b@x y", "hf://../../x@.."]
)
def test_what_is_no_address_is_refused_with_the_right_form(address):
    with pytest.raises(SharedModelError, match="give hf://USER/NAME@REVISION"):
        parse_address(address)


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("https://huggingface.co/user/name", ", as hf://user/name."),
        ("http://www.HF.co/user/name/tree/main", ", as hf://user/name."),
        ("hf:user/name", ", as hf://user/name."),
        ("HF://user/name@v1", ", as hf://user/name@v1."),
        ("https://example.org/user/name.zip", "REVISION."),
    ],
)
def test_another_address_is_refused_with_the_one_that_is_meant(address, meant):
    for given in (address, Path(address)):
        with pytest.raises(SharedModelError, match=r"give hf://USER/NAME@REVISION") as error:
            parse_address(given)
        assert str(error.value).endswith(meant)


def test_a_model_is_fetched_checked_and_kept(hub, fetch, files, manifest):
    folder = folder_of(fetch("hf://user/name@v1"))
    assert folder.name == manifest.model
    needed = {name: content for name, content in files.items() if name != "README.md"}
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {**needed, MANIFEST: manifest.content}
    hub.asked.clear()
    assert folder_of(fetch("hf://user/name@v1")) == folder
    assert MANIFEST in hub.asked
    assert WEIGHTS not in hub.asked
    assert folder_of(fetch("hf://user/name@v1", HF_HUB_OFFLINE="1")) == folder


def test_a_changed_file_is_refused_and_not_kept(hub, fetch, files, tmp_path):
    hub.files[WEIGHTS] = files[WEIGHTS][::-1]
    done = fetch("hf://user/name")
    assert f"{WEIGHTS} of hf://user/name@{COMMIT} is torn or was changed" in done.stderr
    hub.files[WEIGHTS] = files[WEIGHTS] + b"x"
    hub.asked.clear()
    done = fetch("hf://user/name")
    assert f"{WEIGHTS} of hf://user/name@{COMMIT} has 5121 bytes, 5120 by its manifest.json" in done.stderr
    assert list((tmp_path / "cache/nnunet_missingmod/models").iterdir()) == []


def test_what_is_not_there_is_said(hub, fetch):
    assert "there is no such repository, or it is not open to all" in fetch("hf://user/other").stderr
    assert "user/name has no branch, tag or commit v2" in fetch("hf://user/name@v2").stderr
    del hub.files[MANIFEST]
    said = fetch("hf://user/name").stderr
    assert "has no file manifest.json. A model is uploaded as the files of the zip that share wrote" in said
    assert "the Hub cannot be reached" in fetch("hf://user/name", HF_HUB_OFFLINE="1").stderr


def test_a_manifest_that_is_none_is_refused(hub, fetch):
    hub.files[MANIFEST] = json.dumps({"name": "web page"}).encode()
    assert f"{MANIFEST} of hf://user/name@main is none of a shared model" in fetch("hf://user/name").stderr


def test_without_the_client_it_says_what_to_install(fetch, tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "huggingface_hub.py").write_text("raise ImportError")
    said = fetch("hf://user/name", PYTHONPATH=f"{tmp_path / 'without'}:{':'.join(sys.path)}").stderr
    assert "huggingface_hub is not installed: pip install huggingface_hub" in said
