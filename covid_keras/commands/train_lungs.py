"""`covid-keras train-lungs`: retrain the lung U-Net."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path

from covid_keras.commands.parsing import Commands, add_command, add_data, add_out, say_where
from covid_keras.common.errors import UserError
from covid_keras.common.files import require_writable_folder, write_json
from covid_keras.data.locations import require_data
from covid_keras.training.choices import PRECISIONS, require_choice


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train-lungs",
        "retrain the lung U-Net with the recipe behind the shipped weights",
        run,
        "  covid-keras train-lungs --data ~/radiographs --out runs/lungs\n",
    )
    add_data(parser)
    add_out(parser, "runs/lungs", "output folder (default: runs/lungs)")
    parser.add_argument("--epochs", type=int, metavar="N", help="number of epochs (default: from the recipe)")
    text = "float32, bf16 or fp16 (default: bf16, as shipped)"
    parser.add_argument("--precision", default="bf16", metavar="F", help=text)


def run(options: Namespace) -> None:
    """Train the lung U-Net."""
    say_where(train_lungs(options.data, options.out, options.epochs, options.precision))


def train_lungs(given: Path | None, out: Path, epochs: int | None, precision: str) -> Path:
    """Train and evaluate the lung U-Net; return its folder `out`."""
    require_choice("--precision", precision, PRECISIONS)
    if epochs is not None and epochs < 1:
        raise UserError("--epochs", f"must be at least 1 (got {epochs})", "Omit it to follow the recipe")
    from covid_keras.data.splits import check_disjoint, read_split
    from covid_keras.training.lung_split import SPLIT, load_lung_cohort

    cohort = load_lung_cohort(require_data(given))
    require_writable_folder(out)
    table = read_split(SPLIT)
    check_disjoint(table, cohort)
    from covid_keras.common.provenance import provenance
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.training.lung_recipe import LungRecipe, run_recipe

    recipe = LungRecipe(precision=PRECISIONS[precision])
    recipe = recipe if epochs is None else dataclasses.replace(recipe, epochs=epochs)
    summary = run_recipe(cohort, table.set_index("image_id")["split"], out, recipe)
    write_json(out / "provenance.json", provenance(cohort=cohort.fingerprint(), dice=summary))
    return out
