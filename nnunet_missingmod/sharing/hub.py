"""Shared models on the Hugging Face Hub, given as ``hf://user/name@revision``: a repository of a zip's files."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_missingmod.sharing.archive import copy_checked
from nnunet_missingmod.sharing.manifest import MANIFEST, README, Manifest, SharedModelError, read_manifest

# pathlib writes two slashes as one.
_SCHEME = re.compile(r"hf:|https?:/", re.IGNORECASE)
_MEANT = re.compile(
    r"(?i:hf:|https?:/+(?:www\.)?(?:huggingface|hf)\.co)/*(\w[\w.-]*/\w[\w.-]*(?:@[\w./-]+)?)", re.ASCII
)
_ADDRESS = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


class HubModel(NamedTuple):
    """A repository of the Hub, and a branch, tag or commit of it."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"hf://{self.repository}@{self.revision}"


def parse_address(model: str | os.PathLike[str]) -> HubModel | None:
    """Return the model that ``hf://user/name@revision`` names; the revision is ``main`` where none is given.

    Returns:
        None if it is no such address, and so the path of a file or folder.

    Raises:
        SharedModelError: it starts as one, or as an address of the web, and cannot be one.
    """
    text = os.fspath(model)
    if not _SCHEME.match(text):
        return None
    found = _ADDRESS.fullmatch(text)
    if not found:
        meant = _MEANT.match(text)
        example = f", as hf://{meant[1]}" if meant else ""
        raise SharedModelError(f"{text!r} is no model of the Hugging Face Hub: give hf://USER/NAME@REVISION{example}.")
    return HubModel(found[1], found[2] or "main")


def download_manifest(model: HubModel) -> tuple[Manifest, HubModel]:
    """Return a repository's manifest, and the commit that it is of.

    Without a connection it is the one that was downloaded last, if there is one.

    Raises:
        SharedModelError: huggingface_hub is not installed, or there is no such model.
    """
    with _said(model, MANIFEST) as hub:
        file = Path(hub.hf_hub_download(model.repository, MANIFEST, revision=model.revision))
    # The hub's own copy lies in a folder that is called as the commit.
    commit = HubModel(model.repository, file.parent.name)
    return read_manifest(file.read_bytes(), str(model)), commit


def download(model: HubModel, manifest: Manifest, folder: Path) -> None:
    """Download the files of a manifest into an empty folder, each checked; not the page, which nothing is read from.

    Raises:
        SharedModelError: a file cannot be downloaded, or is not what the manifest says.
        OSError: it cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as downloads:
        for name, member in manifest.members.items():
            if name == README:
                continue
            with _said(model, name) as hub:
                url = hub.hf_hub_url(model.repository, name, revision=model.revision)
                size = hub.get_hf_file_metadata(url).size
            if size != member.size:
                raise SharedModelError(f"{name} of {model} has {size} bytes, {member.size} by its {MANIFEST}.")
            with _said(model, name) as hub:
                file = Path(hub.hf_hub_download(model.repository, name, revision=model.revision, local_dir=downloads))
            (folder / name).parent.mkdir(exist_ok=True)
            with file.open("rb") as source, (folder / name).open("xb") as target:
                copy_checked(source, target, member, what=f"{name} of {model}")
            file.unlink()
    (folder / MANIFEST).write_bytes(manifest.content)


@contextlib.contextmanager
def _said(model: HubModel, name: str) -> Iterator[Any]:
    """Yield the client's module; around a call of it."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise SharedModelError(
            f"{model} is on the Hugging Face Hub, and huggingface_hub is not installed: pip install huggingface_hub, "
            "or download the model's zip and give that."
        ) from error
    try:
        yield hub
    except errors.RepositoryNotFoundError as error:
        why = "there is no such repository, or it is not open to all: name it right, or set HF_TOKEN"
        raise SharedModelError(f"{model} cannot be downloaded: {why}.") from error
    except errors.RevisionNotFoundError as error:
        raise SharedModelError(f"{model.repository} has no branch, tag or commit {model.revision}.") from error
    except errors.LocalEntryNotFoundError as error:
        why = "the Hub cannot be reached, and no copy is here"
        raise SharedModelError(f"{name} of {model} cannot be downloaded: {why}.") from error
    except errors.EntryNotFoundError as error:
        raise SharedModelError(
            f"{model} has no file {name}. A model is uploaded as the files of the zip that share wrote: unpack it, "
            "then hf upload USER/NAME FOLDER."
        ) from error
    except Exception as error:  # of the client's HTTP library, which is another one in each of its versions
        raise SharedModelError(f"{name} of {model} cannot be downloaded: {error}") from error
