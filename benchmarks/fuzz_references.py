"""Changes of references: their values, grids, types and files."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import SimpleITK as sitk
from fuzz_dataset_truth import Change, DatasetTruth, pick, spoil_case, untouched, write_array, write_spacing
from fuzz_files import rewrite_nifti
from skimage import io as pictures


def brats_numbering(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    """Number the enhancing tumour 4 in every reference; with the option that reads it as 3, or without."""
    if 3 not in truth.numbers or truth.problems or truth.failures or truth.values or truth.may:
        return False
    for case, reference in truth.references.items():
        if 3 not in reference:
            return False
        write_array(truth, truth.label(case), np.where(reference == 3, 4, reference).astype(np.uint8))
        truth.problems.append((case, (" 4",)))
    if rng.random() < 0.5:
        truth.label_map = {4: 3}
    else:
        for case in truth.references:
            truth.values[case] = ("holds 4", "--map-labels 4=3")
    truth.done += truth.references
    return True


def a_value_that_is_no_label(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None:
        return False
    reference = truth.references[case]
    value = int(pick(rng, [255, max(truth.labels.get("ignore", 0), *truth.numbers) + 1, 200]))
    if rng.random() < 0.5:
        changed = np.where(reference > 0, value, 0).astype(np.uint8)
        if not changed.any():
            return False
    else:
        changed = reference.copy()
        changed.flat[int(rng.integers(0, changed.size))] = value
    if not truth.is_flat and rng.random() < 0.3:
        changed, value = changed.astype(np.int16), -1
        changed.flat[0] = -1
    write_array(truth, truth.label(case), changed)
    shown = str(value)
    truth.problems.append((case, (shown,)))
    truth.values[case] = (case, shown)
    return True


def fractions(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None or truth.is_flat:
        return False
    changed = truth.references[case].astype(np.float32)
    changed.flat[int(rng.integers(0, changed.size))] = pick(rng, [0.5, 1.001, np.nan, np.inf, -0.25])
    write_array(truth, truth.label(case), changed)
    return spoil_case(truth, case, truth.label(case).name)


def colour_or_two_volumes(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None or truth.reader == "Tiff3DIO":
        return False
    reference = truth.references[case]
    file = truth.label(case)
    if truth.is_flat:
        pictures.imsave(file, np.stack([reference[0]] * 3, -1), check_contrast=False)
    elif rng.random() < 0.5:
        image = sitk.GetImageFromArray(np.stack([reference] * 3, -1), isVector=True)
        sitk.WriteImage(image, str(file))
    elif truth.ending == ".nii.gz":
        sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(reference)] * 2), str(file))
    else:
        return False
    return spoil_case(truth, case, file.name)


def another_grid(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None:
        return False
    reference, file = truth.references[case], truth.label(case)
    kind = pick(rng, ["shape", "turned", "shift", "stretch", "flip"] if truth.has_header else ["shape", "turned"])
    if kind == "shape":
        write_array(truth, file, reference[:, :-1])
    elif kind == "turned":
        if reference.shape[1] == reference.shape[2]:
            return False
        write_array(truth, file, np.ascontiguousarray(reference.swapaxes(1, 2)))
    elif kind == "shift":
        write_array(truth, file, reference, shift=float(pick(rng, [1.5, -40.0, 1e4])))
    elif kind == "stretch":
        write_array(truth, file, reference, stretch=float(pick(rng, [2.0, 0.5, 1.2])))
    else:
        write_array(truth, file, reference, flip=True)
    return spoil_case(truth, case, file.name)


def another_grid_by_a_hair(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None or not truth.has_header:
        return False
    write_array(truth, truth.label(case), truth.references[case], shift=1e-4)
    truth.done.append(case)
    return True


def another_spacing_beside_a_tiff(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None or truth.reader != "Tiff3DIO":
        return False
    spacing = pick(rng, [[5.0, 1.0, 1.5], [1.0, 1.0], [0, 1, 1], "x"])
    write_spacing(truth.raw / "labelsTr", case, spacing)
    truth.failures[case] = (truth.label(case).name,)
    if spacing == [5.0, 1.0, 1.5]:  # inspect looks at labels as nnU-Net does
        truth.may.add(case)
    truth.problems.append((case, (truth.label(case).name,)))
    return True


def cut_off(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None:
        return False
    file = truth.label(case)
    content = file.read_bytes()
    kept = pick(rng, [0, 1, 10, len(content) // 2, len(content) - 40])
    file.write_bytes(content[:kept] if rng.random() < 0.8 else b"<html>404</html>")
    return spoil_case(truth, case, file.name)


def missing(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None:
        return False
    file = truth.label(case)
    kind = pick(rng, ["gone", "folder", "link", "other ending", "upper case"])
    if kind in ("other ending", "upper case"):
        other = ".nii" if truth.ending == ".nii.gz" else truth.ending.upper()
        file.rename(file.with_name(f"{case}{other}"))
    else:
        file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "link":
        file.symlink_to("/nowhere/at/all")
    if kind in ("folder", "link") and "dataset" not in truth.content:
        truth.may.add("")
    return spoil_case(truth, case, file.name)


def more_references(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None:
        return False
    if rng.random() < 0.5:
        for name in (f"._{truth.label(case).name}", ".DS_Store", "README.txt", "Thumbs.db"):
            (truth.raw / "labelsTr" / name).write_bytes(rng.bytes(300))
        return True
    write_array(truth, truth.raw / "labelsTr" / f"lonely{truth.ending}", truth.references[case])
    if "dataset" in truth.content:
        return False
    truth.done.append("lonely")
    truth.problems.append((None, ("lonely",)))
    return True


def another_type(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None or truth.is_flat:
        return False
    kinds = [np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64]
    write_array(truth, truth.label(case), truth.references[case].astype(pick(rng, kinds)))
    truth.done.append(case)
    return True


def scaled_by_the_header(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None or ".nii" not in truth.ending or len(truth.labels) < 3 or "ignore" in truth.labels:
        return False
    reference = np.where(truth.references[case] > 0, 1, 0).astype(np.uint8)
    write_array(truth, truth.label(case), reference)
    rewrite_nifti(truth.label(case), lambda content: struct.pack_into("<2f", content, 112, 2.0, 0.0))
    truth.references[case] = reference * np.uint8(2)
    truth.done.append(case)
    return True


def one_value_everywhere(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None:
        return False
    truth.references[case] = np.full_like(truth.references[case], pick(rng, truth.numbers))
    write_array(truth, truth.label(case), truth.references[case])
    truth.done.append(case)
    return True


def a_link(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None:
        return False
    file = truth.label(case)
    target = truth.root / f"elsewhere{truth.ending}"
    if target.exists():
        return False
    file.rename(target)
    file.symlink_to(target)
    truth.done.append(case)
    return True


def compressed_twice(truth: DatasetTruth, rng: np.random.Generator) -> bool:
    case = untouched(truth, rng)
    if case is None or truth.ending == ".nii":
        return False
    file = truth.label(case)
    file.write_bytes(gzip.compress(file.read_bytes()))
    return spoil_case(truth, case, file.name)


REFERENCES: dict[str, Change] = {
    change.__name__: change
    for change in (
        brats_numbering,
        a_value_that_is_no_label,
        fractions,
        colour_or_two_volumes,
        another_grid,
        another_grid_by_a_hair,
        another_spacing_beside_a_tiff,
        cut_off,
        missing,
        more_references,
        another_type,
        scaled_by_the_header,
        one_value_everywhere,
        a_link,
        compressed_twice,
    )
}
