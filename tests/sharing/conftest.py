"""Small shared models, whose weights are any bytes: nothing here looks into them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nnunet_missingmod.sharing.archive import zip_writer
from nnunet_missingmod.sharing.manifest import MANIFEST, Manifest, make_manifest, member_of

MODEL = "nnUNetTrainerModalityDropout__nnUNetPlans__2d"
FILES = {
    "README.md": b"# A model\n",
    "dataset.json": b"{}\n",
    "plans.json": b'{"a": 1}\n',
    "missingmod_card.json": b'{"card": 1}\n',
    "fold_0/checkpoint_final.safetensors": bytes(range(256)) * 20,
    "fold_0/checkpoint_final.json": b'{"trainer_name": "x"}\n',
}


@pytest.fixture
def files() -> dict[str, bytes]:
    return dict(FILES)


@pytest.fixture
def manifest() -> Manifest:
    return make_manifest(MODEL, {"torch": "2"}, {name: member_of(content) for name, content in FILES.items()})


@pytest.fixture
def shared(tmp_path: Path, manifest: Manifest) -> Path:
    """The zip as ``share`` writes it."""
    file = tmp_path / "model.zip"
    with zip_writer(file) as write:
        for name, content in FILES.items():
            write(name, content)
        write(MANIFEST, manifest.content)
    return file


@pytest.fixture
def changed(tmp_path: Path, shared: Path) -> Callable[..., Path]:
    """Return a function that writes the zip anew, some of its entries changed."""

    def change(
        replaced: Mapping[str, bytes | None] | None = None,
        more: Mapping[str | zipfile.ZipInfo, bytes] | None = None,
        compression: int = zipfile.ZIP_STORED,
    ) -> Path:
        target = tmp_path / "changed.zip"
        with zipfile.ZipFile(shared) as source, zipfile.ZipFile(target, "w", compression) as made:
            for name in source.namelist():
                content = (replaced or {}).get(name, source.read(name))
                if content is not None:
                    made.writestr(name, content)
            for name, content in (more or {}).items():
                made.writestr(name, content)
        return target

    return change


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nnunet_missingmod" / "models"
