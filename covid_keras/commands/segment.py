"""`covid-keras segment`: mark the lungs in the user's radiographs."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from covid_keras.commands.parsing import (
    Commands,
    add_batch,
    add_command,
    add_out,
    require_threads,
    say,
    say_failed,
    say_where,
    user_path,
)
from covid_keras.common.errors import printable
from covid_keras.common.files import json_text
from covid_keras.data.sniff import LIMITS
from covid_keras.models.registry import DEFAULT_LUNGS, LUNG_NETWORKS


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "segment",
        "mark the lungs in your radiographs with a shipped U-Net",
        run,
        "  covid-keras segment chest.png other.dcm --out lungs\n"
        "  covid-keras segment chest.png --lungs fields                without the heart, as in most papers\n"
        "  covid-keras segment ward/ --skip-unreadable --out lungs     every radiograph in a folder\n",
    )
    add = parser.add_argument
    text = f"radiographs (PNG, JPEG, TIFF, BMP, DICOM; {LIMITS}) or folders of them"
    add("images", nargs="+", type=user_path, metavar="PATH", help=text)
    add_out(parser, "lungs", "folder for NAME_mask.png, NAME_crop.png and NAME_overlay.png (default: lungs)")
    text = f"fields: without the heart; whole: with the lung behind it (default: {DEFAULT_LUNGS})"
    add("--lungs", choices=LUNG_NETWORKS, help=text)
    text = "registered name or file (default: the network for --lungs)"
    add("--weights", type=os.path.expanduser, metavar="W", help=text)
    text = "probability threshold for lung pixels (default: from the registry)"
    add("--threshold", type=float, metavar="T", help=text)
    add_batch(parser)


def run(options: Namespace) -> int:
    """Write mask, crop and overlay of each image; return the exit status."""
    require_threads(options.threads)
    from covid_keras.inference.segmentation import segment_files

    found = segment_files(
        options.images,
        options.out,
        options.weights,
        options.threshold,
        lungs=options.lungs,
        skip_unreadable=options.skip_unreadable,
        threads=options.threads,
    )
    if options.json:
        print(json_text(found.record))
    for path, problem in found.failed:
        say(f"{printable(path)}: not segmented, {problem}", sys.stderr)
    status = say_failed(found.failed, "segmented")
    say_where(found.folder, sys.stderr if options.json else sys.stdout)
    return status
