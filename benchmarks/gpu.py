"""Measure on a GPU what only a GPU can tell, and write it into docs/performance.md, in 20 minutes.

    python benchmarks/gpu.py [--minutes 20] [--memory-target 8] [--pairs 10] [--output docs/performance.md]

Trainings as nnU-Net runs them there (its plans for 8 GB, mixed precision, compiled): time of a step and peak of memory
against stock nnU-Net's, seconds of the first step (fewer where torch's caches know the network), and the number of
graphs that were compiled, with a word if something ran without compilation after all; the same without compilation.
Then steps in channels_last_3d and without cuDNN's search for the fastest convolution, which a batch that changes with
what is present sets going anew, a few compiled steps of families with networks of their own, and, with two GPUs or
more, a step in two processes. If time is left: the scripts that measure predictions and memory, and a few steps of
every other trainer.

What fails is said in its row, and the next is measured. When the minutes are over, what is being measured ends and what
remains is said to be left out. No limit is checked, because none has been measured on a GPU: the exit code is 1 if a
measurement failed. Without a GPU it says so and exits with 0; ``--device cpu`` goes through the tables on small
networks, to try the script.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from measuring import Budget, device_name, device_parser
from models import MEMORY_TARGET, dataset_without_images, make_plans
from run_all import FOLDER, Ending, Script, run
from step_memory import OF_OTHER_PLANS, OWN, STOCK
from step_tables import FAILED, Way, table
from two_processes import in_two_processes

from nnunet_missingmod.choices import PRETRAINERS, TRAINERS

# The recommended trainer first: the minutes of a way may not suffice for all.
COMPARED = (
    "nnUNetTrainerHolderMISelf",
    "nnUNetTrainerModalityDropout",
    "nnUNetTrainerSharedBackbone",
    "nnUNetTrainerM3FeCon",
    "nnUNetTrainerRDL",
    "nnUNetTrainerMedMAP",
    "nnUNetTrainerHolderMI",
    "nnUNetTrainerDeMoSeg",
)
# Those whose networks or partners are compiled otherwise than the ones above.
COMPILED_FAMILIES = (
    "nnUNetTrainerMMFormer",
    "nnUNetTrainerACN",
    "nnUNetTrainerRFNet",
    "nnUNetTrainerUHVED",
)
OTHERS = tuple(
    name
    for group in ("Baselines", "Methods", "Families")
    for name in TRAINERS[group][1]
    if name not in (*COMPARED, *OF_OTHER_PLANS, *PRETRAINERS)
)
WAYS = (
    Way("as nnU-Net trains", COMPARED, compiled=True, share=0.4),
    Way("not compiled", COMPARED, share=0.15),
    Way(
        "not compiled, channels_last_3d",
        ("nnUNetTrainerHolderMISelf", "nnUNetTrainerMedMAP"),
        format=torch.channels_last_3d,
        share=0.08,
    ),
    Way("not compiled, without cuDNN's search", ("nnUNetTrainerSharedBackbone",), search=False, share=0.07),
    Way("as nnU-Net trains, families", COMPILED_FAMILIES, compiled=True, most_pairs=3, share=0.15),
)
# {trainer: whether it is compiled}
IN_TWO_PROCESSES = {
    "nnUNetTrainerModalityDropout": False,
    "nnUNetTrainerHolderMISelf": True,
    "nnUNetTrainerSharedBackbone": True,
    "nnUNetTrainerMMFormer": True,
}
# On plans for 8 GB they take minutes; fewer networks and pairs than on a CPU.
SCRIPTS = (
    Script("prediction_time", 5, ("--device", "cuda", "--pairs", "3")),
    Script("memory", 5, ("--device", "cuda")),
    Script("all_subset_time", 5, ("--device", "cuda")),
)
LAST_WAY = Way("not compiled, the other trainers", OTHERS, most_pairs=3)
BEGIN, END = "<!-- gpu -->", "<!-- end gpu -->"


def write_section(document: Path, lines: list[str]) -> None:
    """Put the lines into the place that a document has for them, or at its end."""
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    section = "\n".join([BEGIN, *lines, END])
    found = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    text = found.sub(lambda _: section, text) if found.search(text) else f"{text.rstrip()}\n\n{section}\n"
    document.write_text(text, encoding="utf-8")


def main() -> int:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=10)
    parser.set_defaults(device="cuda")
    parser.add_argument("--minutes", type=float, default=20, help="for everything together")
    parser.add_argument("--output", type=Path, help="default: docs/performance.md; of a trial on a CPU, nowhere")
    arguments = parser.parse_args()
    if arguments.output is None and arguments.device == "cuda":
        arguments.output = FOLDER.parent / "docs" / "performance.md"
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here that torch can use: nothing was measured.")
        return 0
    device = torch.device(arguments.device)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    lines = [f"`python benchmarks/gpu.py` on {time.strftime('%Y-%m-%d')}: {device_name(device)}.", ""]
    budget = Budget(arguments.minutes)
    failed = False
    for more, good in measured(device, pairs=arguments.pairs, memory_target_gb=target, budget=budget):
        print("\n".join(more), flush=True)
        lines += more
        failed |= not good
        # After each table: what is measured stays if the rest fails. A trial on a CPU writes where it is told to.
        if arguments.output is not None:
            write_section(arguments.output, lines)
    return int(failed)


def measured(
    device: torch.device, *, pairs: int, memory_target_gb: float, budget: Budget
) -> Iterator[tuple[list[str], bool]]:
    """Yield the lines of one table after the other, and whether nothing in it failed."""
    minutes = budget.seconds() / 60
    with dataset_without_images() as preprocessed:
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        patches = ("x".join(map(str, plan["configurations"]["3d_fullres"]["patch_size"])) for plan in plans.values())
        planned = f"Planned for {memory_target_gb:g} GB: patches of {' and, own plans, '.join(patches)}"
        yield [f"{planned}; at most {pairs} pairs and {minutes:g} minutes.", ""], True

        def measured_in(way: Way) -> tuple[list[str], bool]:
            return _told(table(way, plans, device, pairs=pairs, budget=budget.at_most(way.share * minutes)))

        yield from map(measured_in, WAYS)
        if device.type == "cuda":
            for name, compiled in IN_TWO_PROCESSES.items():
                yield _told(in_two_processes(name, compiled=compiled, pairs=pairs, budget=budget))
            for script in SCRIPTS:
                section, ending = run(script, budget)
                yield [section], ending is not Ending.FAILED
        yield measured_in(LAST_WAY)


def _told(lines: list[str]) -> tuple[list[str], bool]:
    return lines, not any(FAILED in line for line in lines)


if __name__ == "__main__":
    sys.exit(main())
