"""``nnunet_missingmod advise``: which further modality would gain most, from what was measured."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nnunet_missingmod.console import say
from nnunet_missingmod.evaluation.statistics import Interval


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``advise``."""
    parser.add_argument("-m", metavar="FOLDER", type=Path, help="model folder with the card that evaluate wrote")
    parser.add_argument("-d", metavar="DATASET", help="instead of -m: dataset name or id")
    parser.add_argument("-c", metavar="CONFIGURATION", help="instead of -m: configuration")
    parser.add_argument("-tr", metavar="TRAINER", help="instead of -m: trainer")
    parser.add_argument("-p", metavar="PLANS", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.add_argument("--present", metavar="MODALITY", nargs="+", required=True, help="what there is, as T1 T2")


def run(args: argparse.Namespace) -> int:
    """Print the expected Dice and each further modality's gain; return 0, 1 without a card, 2 for wrong usage."""
    from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
    from nnunet_missingmod.evaluation.report.text import interval_text
    from nnunet_missingmod.inference.advise import ExpectedAccuracy
    from nnunet_missingmod.modalities import choose_subset

    named = [option for option in (args.d, args.c, args.tr) if option is not None]
    if len(named) != (3 if args.m is None else 0):
        sys.stderr.write("Give a model folder (-m), or -d, -c and -tr.\n")
        return 2
    try:
        card = read_card(_folder(args) / FILE_NAME)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        present = choose_subset([part for word in args.present for part in word.split("+")], card.modalities)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    names = [card.modalities[channel] for channel in present]
    say(ExpectedAccuracy(card).text(names))
    advice = card.advise(present)
    if not advice:
        say("Nothing is missing.")
        return 0
    say(f"Mean Dice over the regions would change, in points ({100 * card.confidence:g} % interval), with:")
    width = max(len(each.modality) for each in advice)
    for each in advice:
        say(f"  {each.modality:{width}}  {interval_text(each.gain, signed=True)}")
    say(_conclusion(advice[0].modality, advice[0].gain))
    say(f"Measured on {len(card.cases)} cases: {card.provenance.get('cases', 'unknown')}.")
    return 0


def _folder(args: argparse.Namespace) -> Path:
    if args.m is not None:
        folder: Path = args.m
        return folder
    from nnunet_missingmod.inference.model_files import find_model_folder

    return find_model_folder(args.d, args.c, args.tr, args.p)


def _conclusion(modality: str, gain: Interval) -> str:
    if gain.mean != gain.mean:
        return "What a further modality gains was not measured: no case of the evaluation has it."
    if gain.low > 0:
        return f"{modality} would gain most."
    if gain.mean <= 0:
        return "No further modality gains anything on average."
    return f"{modality} would gain most on average, but its interval does not exclude 0."
