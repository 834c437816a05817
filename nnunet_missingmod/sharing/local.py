"""The local folder of a model that is given as a folder, as a zip of ``share``, or by ``hf://`` and a name.

What is no folder is unpacked, checked, into the user's cache, under the SHA-256 of its manifest. Whoever takes a model
by its path calls `local_folder`.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_missingmod.evaluation.model_card import FILE_NAME
from nnunet_missingmod.sharing.archive import unpack, unpack_manifest
from nnunet_missingmod.sharing.hub import download, download_manifest, parse_address
from nnunet_missingmod.sharing.manifest import (
    MANIFEST,
    README,
    Manifest,
    SharedModelError,
    problem_of,
    read_manifest,
    unlisted_files,
)

logger = logging.getLogger(__name__)

# evaluate writes a card of its own into the folder, and nothing is read from the page.
_MAY_DIFFER = (FILE_NAME, README)
# {folder: size and time of each of its files, those that do not belong there} as it was found whole in this process.
_found_whole: dict[Path, tuple[Any, ...]] = {}
# Folders of this process, where the cache cannot be written to.
_temporary: dict[str, Path] = {}


def cache_folder() -> Path:
    """Return where unpacked models are kept: in ``XDG_CACHE_HOME``, else in ``~/.cache``.

    Raises:
        OSError: the user has no home directory, as a container's may not.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError(f"The user has no home directory, and XDG_CACHE_HOME is not set: {error}") from error
    return root / "nnunet_missingmod" / "models"


def local_folder(model: str | os.PathLike[str]) -> Path:
    """Return the folder of a model; its files are those that were shared.

    Args:
        model: a model folder, whose files are checked if it has a manifest of a shared model; a zip; or
            ``hf://user/name@revision``.

    Returns:
        What is neither is returned as it is: whoever opens it says that there is none.

    Raises:
        SharedModelError: the model is torn or was changed, is no shared model, or cannot be downloaded.
        OSError: it cannot be read, or not be unpacked anywhere.
    """
    address = parse_address(model)
    if address is not None:
        manifest, commit = download_manifest(address)
        return _kept(manifest, partial(download, commit, manifest))
    path = Path(model)
    if os.path.isfile(path):  # which takes a name that no disk can have for none
        manifest = unpack_manifest(path)
        return _kept(manifest, partial(unpack, path, manifest))
    if os.path.isfile(path / MANIFEST):
        problem = _problem_of(read_manifest((path / MANIFEST).read_bytes(), str(path)), path)
        if problem:
            raise SharedModelError(
                f"{path} is not what its {MANIFEST} lists: {problem}. Unpack the model again, into an empty folder."
            )
    return path


def _kept(manifest: Manifest, fill: Callable[[Path], None]) -> Path:
    """Return the folder of a manifest, filled if it is not there or not what it was."""
    kept = _temporary.get(manifest.digest)
    if kept is not None and _is_whole(manifest, kept):
        return kept / manifest.model
    try:
        cache = cache_folder()
        place = cache / manifest.digest
        if _is_whole(manifest, place):
            return place / manifest.model
        cache.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".", dir=cache))
    except OSError as error:
        place = Path(tempfile.mkdtemp(prefix="nnunet_missingmod-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        logger.info(
            "%s; the model is unpacked for this run alone, and what is written into it, as a card by evaluate, is "
            "lost. Set XDG_CACHE_HOME to a folder that can be written to.",
            error,
        )
        _temporary[manifest.digest] = place
        (place / manifest.model).mkdir()
        fill(place / manifest.model)
        return place / manifest.model
    try:
        (staging / manifest.model).mkdir()
        fill(staging / manifest.model)
        _put(staging, place, manifest)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return place / manifest.model


def _is_whole(manifest: Manifest, place: Path) -> bool:
    folder = place / manifest.model
    return folder.is_dir() and _problem_of(manifest, folder) is None


def _problem_of(manifest: Manifest, folder: Path) -> str | None:
    """Return what is wrong with a folder; a command opens its model several times, and the sums are computed once.

    Files of other sizes or times than those that were found whole are looked at again.
    """
    try:
        files = [(folder / name).stat() for name in manifest.members if name not in _MAY_DIFFER]
    except OSError:
        return problem_of(manifest, folder, without=_MAY_DIFFER)
    state = (
        manifest.digest,
        *((file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns) for file in files),
        *unlisted_files(manifest, folder),
    )
    if _found_whole.get(folder.absolute()) == state:
        return None
    problem = problem_of(manifest, folder, without=_MAY_DIFFER)
    if problem is None:
        _found_whole[folder.absolute()] = state
    return problem


def _put(staging: Path, place: Path, manifest: Manifest) -> None:
    """Move a folder to its place, unless another process has put the same there meanwhile."""
    try:
        staging.rename(place)
    except OSError:
        if _is_whole(manifest, place):
            return
        old = place.with_name(f".{uuid.uuid4().hex[:12]}")
        place.rename(old)
        staging.rename(place)
        shutil.rmtree(old, ignore_errors=True)
