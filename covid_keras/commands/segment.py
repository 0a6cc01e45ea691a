"""`covid-keras segment`: the lungs of the user's radiographs."""

from __future__ import annotations

import os
from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, add_out, say_where, user_path


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "segment",
        "mark the lungs of radiographs with the shipped U-Net",
        run,
        "  covid-keras segment chest.png other.dcm --out lungs\n",
    )
    parser.add_argument("images", nargs="+", type=user_path, metavar="IMAGE", help="PNG, JPEG, TIFF or DICOM")
    add_out(parser, "lungs", "receives STEM_mask.png, STEM_crop.png, STEM_overlay.png (default: lungs)")
    parser.add_argument(
        "--weights",
        type=os.path.expanduser,
        metavar="W",
        default="lungs_unet16",
        help="registered name or file (default: lungs_unet16)",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="probability from which a pixel is lung (default: the registry's)"
    )


def run(options: Namespace) -> None:
    """Write mask, crop and overlay of each image."""
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.inference.segmentation import segment_files

    say_where(segment_files(options.images, options.out, options.weights, options.threshold))
