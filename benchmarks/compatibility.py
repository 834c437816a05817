"""Does it work with the oldest and newest nnunetv2 in range, on each Python, the host as a wheel and as editable?

    python benchmarks/compatibility.py --pythons python3.10 python3.11 python3.12 --output compatibility.md
    python benchmarks/compatibility.py --here --install editable        # in the virtual environment that runs it

For each Python a fresh virtual environment gets this package as a wheel, with all that it requires. Then, for each
nnunetv2 and each way to install it: with nnUNet_extTrainer, which leaves the host as it is, doctor, phantoms of which
some lack files, planning, nnU-Net's own train and predict; attached, doctor, the class search in a spawned process,
which still finds stock classes, and prediction, which is the same; detach leaves the host as it was. Needs the package
index; about 5 minutes per Python and 2 per host.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOST = "nnunetv2"
INSTALLS = ("wheel", "editable")
DATASET = "Dataset501_Phantom"
MODEL = ("-d", "501", "-c", "3d_fullres", "-tr", "nnUNetTrainerModalityDropout")

_SEARCH = """
import multiprocessing
from nnunet_missingmod.host import CLASS_TABLE

def find(name):
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
    if name.startswith("nnUNetTrainer"):
        return recursive_find_trainer_class_by_name(name).__name__
    for folder in ("preprocessing", "experiment_planning"):
        found = recursive_find_python_class(f"{nnunetv2.__path__[0]}/{folder}", name, f"nnunetv2.{folder}")
        if found is not None:
            return found.__name__

if __name__ == "__main__":
    names = [*CLASS_TABLE, "nnUNetTrainer", "nnUNetTrainer_5epochs", "DefaultPreprocessor", "ExperimentPlanner"]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(find, names)
    assert found == names, set(names) - set(found)
"""


class FailedError(RuntimeError):
    """A command of the check failed; the message ends with what it said last."""


def call(*command: str | Path, environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **(environment or {})},
        cwd=folder or tempfile.gettempdir(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise FailedError(f"{' '.join(map(str, command))}: {' | '.join(said[-3:])}")
    return done.stdout


def host_range() -> str:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split()
    return next(line for line in lines if line.startswith(HOST)).removeprefix(HOST)


def installed(python: Path, package: str) -> str:
    return call(python, "-c", f"from importlib.metadata import version; print(version({package!r}))").strip()


def install_host(python: Path, version: str, how: str, work: Path) -> None:
    """Replace the environment's nnunetv2; what it requires is there already."""
    if how == "wheel":
        call(python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", f"{HOST}=={version}")
        return
    sources = work / f"{HOST}-{version}"
    if not sources.exists():
        call(
            *(python, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "--no-binary", HOST),
            *("-d", work, f"{HOST}=={version}"),
        )
        with tarfile.open(next(work.glob(f"{HOST}-{version}.tar.gz"))) as archive:
            archive.extractall(work, filter="data")
    call(python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--force-reinstall", "-e", sources)


def build_wheel(python: Path, work: Path) -> Path:
    """Build this package from a copy, so that the sources stay as they are."""
    copy = Path(tempfile.mkdtemp(dir=work)) / "sources"
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left_out)
    call(python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", copy, copy)
    return next(copy.glob("*.whl"))


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }


def check(python: Path, how: str, work: Path) -> None:
    """Put the environment of ``python`` through everything, with its host as it is installed."""
    programs = python.parent
    world = Path(tempfile.mkdtemp(dir=work))
    environment = {
        **{name: str(world / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")},
        **dict.fromkeys(("nnUNet_n_proc_DA", "nnUNet_def_n_proc", "OMP_NUM_THREADS"), "1"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (world / name).mkdir()

    def run(program: str, *arguments: str | Path) -> str:
        return call(programs / program, *arguments, environment=environment, folder=world)

    where = "from nnunet_missingmod.host import host_folder; print(host_folder())"
    host = Path(call(python, "-c", where, folder=world).strip())
    if how == "editable" and "site-packages" in host.parts:
        raise FailedError(f"nnunetv2 is not editable: {host}")
    before = contents(host)
    environment["nnUNet_extTrainer"] = run("nnunet_missingmod", "path").strip()
    use(run, world)
    if contents(host) != before:
        raise FailedError(f"something was written into {host}")
    del environment["nnUNet_extTrainer"]
    try:
        use_attached(python, run, world, environment)
    finally:
        run("nnunet_missingmod", "detach")
    if contents(host) != before:
        raise FailedError(f"detach left something in {host}")
    shutil.rmtree(world)


def use(run: Callable[..., str], world: Path) -> None:
    """Take incomplete phantoms from raw files to predictions, with nothing written into nnU-Net."""
    run("nnunet_missingmod", "doctor")
    run("nnunet_missingmod", "phantom", "--cases", "6", "--test-cases", "1", "--size", "28", "28", "28")
    raw = world / "nnUNet_raw" / DATASET
    for case, channel in (("001", 0), ("001", 3), ("002", 1), ("004", 2)):
        (raw / "imagesTr" / f"phantom-train-{case}_{channel:04d}.nii.gz").unlink()
    run("nnunet_missingmod", "plan", "-d", "501", "-c", "3d_fullres", "-np", "1", "-npfp", "1")
    file = world / "nnUNet_preprocessed" / DATASET / "nnUNetPlans.json"
    plans = json.loads(file.read_text(encoding="utf-8"))
    chosen = plans["configurations"]["3d_fullres"]
    arguments = chosen["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [4, *[8] * (arguments["n_stages"] - 1)]
    chosen["missingmod"] = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 2}
    file.write_text(json.dumps(plans), encoding="utf-8")
    run("nnUNetv2_train", "501", "3d_fullres", "0", "-tr", MODEL[-1], "-device", "cpu")
    sent = world / "sent"
    sent.mkdir()
    for channel in (1, 2):
        shutil.copy(raw / "imagesTs_complete" / f"phantom-test-001_{channel:04d}.nii.gz", sent)
    predict(run, world, "out")


def use_attached(python: Path, run: Callable[..., str], world: Path, environment: dict[str, str]) -> None:
    """Attach, search every class, and predict as before."""
    run("nnunet_missingmod", "attach")
    run("nnunet_missingmod", "attach", "--check")
    run("nnunet_missingmod", "doctor")
    (world / "search.py").write_text(_SEARCH, encoding="utf-8")
    call(python, world / "search.py", environment=environment, folder=world)
    if predict(run, world, "attached") != predict(run, world, "out"):
        raise FailedError("nnUNetv2_predict segments otherwise if nnU-Net is attached")


def predict(run: Callable[..., str], world: Path, output: str) -> bytes:
    """Return the file that nnUNetv2_predict writes of the incomplete case, unless it is there already."""
    segmentation = world / output / "phantom-test-001.nii.gz"
    if not segmentation.exists():
        run(
            *("nnUNetv2_predict", "-i", world / "sent", "-o", world / output, *MODEL, "-f", "0", "-device", "cpu"),
            *("-npp", "1", "-nps", "1"),
        )
    if not segmentation.exists():
        raise FailedError("nnUNetv2_predict wrote no segmentation of the incomplete case")
    return segmentation.read_bytes()


def report(rows: list[dict[str, str]], output: Path | None) -> None:
    columns = list(rows[-1])
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    lines += [f"| {' | '.join(row[column] for column in columns)} |" for row in rows]
    print(f"\n{lines[0]}\n{lines[1]}\n{lines[-1]}" if len(rows) == 1 else lines[-1], flush=True)
    if output:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def attempt(python: Path, version: str, how: str, work: Path) -> dict[str, str]:
    began = time.monotonic()
    try:
        install_host(python, version, how, work)
        check(python, how, work)
        outcome = "works"
    except FailedError as error:
        outcome = str(error).replace("|", "/")
    return {
        "Python": call(python, "-c", "import platform; print(platform.python_version())").strip(),
        HOST: version,
        "host as": how,
        "torch": installed(python, "torch"),
        "numpy": installed(python, "numpy"),
        "seconds": f"{time.monotonic() - began:.0f}",
        "outcome": outcome,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", nargs="+", default=["python3.10", "python3.11", "python3.12"], metavar="PYTHON")
    parser.add_argument("--here", action="store_true", help="check the running environment, with the host it has")
    parser.add_argument("--install", nargs="+", choices=INSTALLS, default=INSTALLS, help="ways to install the host")
    parser.add_argument("--work", type=Path, help="folder of the environments, kept (default: temporary)")
    parser.add_argument("--output", type=Path, help="Markdown file for the table")
    args = parser.parse_args()
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        pythons = [sys.executable] if args.here else args.pythons
        for name in pythons:
            if shutil.which(name) is None:
                print(f"{name} is not here, left out", flush=True)
                continue
            python = Path(name)
            if not args.here:
                folder = work / f"env-{Path(name).name}-{len(rows)}"
                python = folder / "bin" / "python"
                call(name, "-m", "venv", folder)
            call(python, "-m", "pip", "install", "-q", "setuptools>=77", "wheel")
            if not args.here:
                wheel = build_wheel(python, work)
                call(python, "-m", "pip", "install", "-q", wheel)
                # An environment that was kept may hold another build of the same version.
                call(python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel)
            newest = installed(python, HOST)
            oldest = re.findall(r">=([0-9.]+)", host_range())[0]
            for version in [newest] if args.here else sorted({oldest, newest}):
                for how in args.install:
                    rows.append(attempt(python, version, how, work))
                    report(rows, args.output)
    return 0 if rows and all(row["outcome"] == "works" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
