"""Run every benchmark, on the CPU and where there is one on the GPU, and append what they say to docs/performance.md.

    python benchmarks/run_all.py [--only-cpu] [--output docs/performance.md]

On two CPU cores with nothing else running it takes less than 20 minutes. Exit code 1 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch
from measuring import device_name

FOLDER = Path(__file__).parent
# device: {script: its arguments}. What runs on the CPU alone is measured there alone.
BENCHMARKS: dict[str, dict[str, list[str]]] = {
    "cpu": {
        "step_time": ["--device", "cpu", "--pairs", "16"],
        "prediction_time": ["--device", "cpu", "--pairs", "3"],
        "all_subset_time": ["--device", "cpu", "--rounds", "2"],
        "memory": ["--device", "cpu"],
        "step_memory": [],
        "preprocessing_time": [],
        "import_time": [],
        "report_time": [],
    },
    "cuda": {
        "step_time": ["--device", "cuda", "--pairs", "30"],
        "prediction_time": ["--device", "cuda", "--pairs", "10"],
        "all_subset_time": ["--device", "cuda"],
        "memory": ["--device", "cuda"],
    },
}


def run(script: str, arguments: list[str]) -> tuple[str, bool]:
    """Return a section of the report, and whether the script's limits are kept."""
    command = [script + ".py", *arguments]
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(FOLDER / command[0]), *arguments], stdout=subprocess.PIPE, text=True)
    minutes = (time.monotonic() - began) / 60
    verdict = "limits kept" if done.returncode == 0 else "a limit is exceeded, or it failed"
    heading = f"### `python benchmarks/{' '.join(command)}`\n\n{minutes:.1f} minutes, {verdict}.\n\n"
    return f"{heading}{done.stdout.strip()}\n", done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-cpu", action="store_true")
    parser.add_argument("--output", type=Path, default=FOLDER.parent / "docs" / "performance.md")
    arguments = parser.parse_args()
    with_gpu = torch.cuda.is_available() and not arguments.only_cpu
    kept = True
    for device in ["cpu", "cuda"] if with_gpu else ["cpu"]:
        sections = [f"## Measured on {time.strftime('%Y-%m-%d')}: {device_name(torch.device(device))}\n"]
        for script, chosen in BENCHMARKS[device].items():
            section, good = run(script, chosen)
            print(section, flush=True)
            sections.append(section)
            kept &= good
        with arguments.output.open("a", encoding="utf-8") as report:
            report.write("\n" + "\n".join(sections))
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
