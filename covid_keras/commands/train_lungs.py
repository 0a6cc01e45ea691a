"""`covid-keras train-lungs`: retrain the lung U-Net."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path

from covid_keras.commands.parsing import Commands, add_command, add_data, add_out, say_where
from covid_keras.common.errors import UserError
from covid_keras.common.files import require_writable_folder, write_json
from covid_keras.data.locations import require_data
from covid_keras.models.registry import DEFAULT_LUNGS, LUNG_NETWORKS
from covid_keras.training.choices import PRECISIONS, require_choice


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train-lungs",
        "retrain a lung U-Net with the recipe behind the shipped weights",
        run,
        "  covid-keras train-lungs --data ~/radiographs --out runs/lungs\n"
        "  covid-keras train-lungs --lungs fields --data ~/radiographs\n",
    )
    text = "fields: without the heart (Montgomery, Shenzhen); whole: with the lung behind it (Darwin V7; default)"
    parser.add_argument("--lungs", choices=LUNG_NETWORKS, default=DEFAULT_LUNGS, help=text)
    add_data(parser)
    add_out(parser, "runs/lungs", "output folder (default: runs/lungs)")
    parser.add_argument("--epochs", type=int, metavar="N", help="number of epochs (default: from the recipe)")
    text = "float32, bf16 or fp16 (default: bf16, as shipped)"
    parser.add_argument("--precision", default="bf16", metavar="F", help=text)


def run(options: Namespace) -> None:
    """Train the lung U-Net."""
    say_where(train_lungs(options.data, options.out, options.lungs, options.epochs, options.precision))


def train_lungs(given: Path | None, out: Path, lungs: str, epochs: int | None, precision: str) -> Path:
    """Train and evaluate the lung U-Net of a convention; return its folder `out`."""
    require_choice("--precision", precision, PRECISIONS)
    if epochs is not None and epochs < 1:
        raise UserError("--epochs", f"must be at least 1 (got {epochs})", "Omit it to follow the recipe")
    from covid_keras.data.splits import check_disjoint, read_split
    from covid_keras.training.lung_split import SPLITS, load_lung_cohort, load_measured

    data = require_data(given)
    require_writable_folder(out)
    cohort, others = load_lung_cohort(data, lungs, out / "masks"), load_measured(data, lungs, out / "masks")
    table = read_split(SPLITS[lungs])
    check_disjoint(table, cohort)
    from covid_keras.common.provenance import provenance
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.training.lung_recipe import RECIPES, run_recipe

    recipe = dataclasses.replace(RECIPES[lungs], precision=PRECISIONS[precision])
    recipe = recipe if epochs is None else dataclasses.replace(recipe, epochs=epochs)
    split, name = table.set_index("image_id")["split"], LUNG_NETWORKS[lungs]
    summary = run_recipe(cohort, split, out, recipe, name, others)
    write_json(out / "provenance.json", provenance(cohort=cohort.fingerprint(), dice=summary))
    if lungs != "whole":
        _compare_conventions(data, out, name)
    return out


def _compare_conventions(data: Path, out: Path, name: str) -> None:
    """Write what masks without the heart change, against the shipped network for whole lungs."""
    from covid_keras.models.lungs import LungSegmenter
    from covid_keras.training.lung_conventions import classified_cohorts, compare_conventions, summarise_conventions

    networks = LungSegmenter(out / f"{name}.h5", lungs="fields"), LungSegmenter(lungs="whole")
    tables = [compare_conventions(cohort, *networks) for cohort in classified_cohorts(data)]
    found = {key: value for table in tables for key, value in summarise_conventions(table).items()}
    write_json(out / "conventions.json", found)
