"""The `covid-keras` command: arguments in, the work done elsewhere, one line where a user's input cannot be used."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from covid_keras import DISCLAIMER, __version__
from covid_keras.common.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

EXAMPLES = """\
examples:
  covid-keras reproduce tabik                          phantom where no data is found, minutes
  covid-keras reproduce tabik --data ~/radiographs     real radiographs
  covid-keras report runs/covid_sdnet-smoke            the report again, without training
  covid-keras results                                  all papers on one page
  covid-keras segment chest.png --out lungs            mask, crop and overlay of a radiograph
  covid-keras predict chest.png --heatmap              a trained network's answer, and where it looked
  covid-keras ensemble runs/hertel --systems A B C     average or vote of trained systems
  covid-keras audit tabik                              are the paper's printed numbers possible?
  covid-keras data list                                the collections, and how to get them

environment:
  COVID_KERAS_DATA   folder of the collections, where --data is not given
  COVID_KERAS_WEIGHTS  folder of weight files that do not ship (default: ~/.cache/covid_keras/weights)
  COVID_KERAS_LOG    debug, info, warning or error: what is logged (default: warning)
  COVID_KERAS_QUIET  1: no progress bars
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: 0 done, 2 the user's input cannot be used, 130 interrupted."""
    options = make_parser().parse_args(arguments)
    try:
        logging.basicConfig(level=_log_level(), format="%(name)s: %(message)s")
        return options.run(options) or 0
    except UserError as error:
        _say_error(error)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from here" if options.run is _reproduce else ""
        sys.stderr.write(f"covid-keras: interrupted{goes_on}\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; closing quietly is what it wants.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _log_level() -> int:
    given = os.environ.get("COVID_KERAS_LOG") or "warning"
    levels = logging.getLevelNamesMapping()
    if given.upper() not in levels:
        raise UserError(f"COVID_KERAS_LOG={given}", "is no log level", "Set it to debug, info, warning or error")
    return levels[given.upper()]


def _path(text: str) -> Path:
    """A path as the shell would have it: it leaves "~" alone after "--out=", and in quotes."""
    return Path(os.path.expanduser(text))


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; nothing heavy is imported for `--help` or a bad argument."""
    parser = argparse.ArgumentParser(
        prog="covid-keras",
        description=f"Four papers on COVID-19 in chest radiographs, reproduced. {DISCLAIMER}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"covid-keras {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_reproduce,
        _add_report,
        _add_publish,
        _add_results,
        _add_segment,
        _add_predict,
        _add_ensemble,
        _add_audit,
        _add_lr_range,
        _add_data,
        _add_weights,
        _add_papers,
        _add_train_lungs,
    ):
        add(commands)
    return parser


def _command(commands, name: str, text: str, run, examples: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_reproduce(commands) -> None:
    parser = _command(
        commands,
        "reproduce",
        "train and evaluate a paper's systems and compare with its tables",
        _reproduce,
        "  covid-keras reproduce tabik --profile smoke\n"
        "  covid-keras reproduce tabik --data ~/radiographs --profile cpu --out runs/tabik\n"
        "  covid-keras reproduce tabik --data ~/covidgr --checkpoint resnet18=resnet18.npz --shard 1/4\n"
        "  covid-keras reproduce tabik --set 'systems=[fucitnet]' --set options.cit.lambda_=0.05 --out runs/lambda\n",
    )
    parser.add_argument("paper", metavar="PAPER", help="name of a paper or its first author (see `covid-keras papers`)")
    parser.add_argument(
        "--data", type=_path, metavar="DIR", help="folder of the collections (default: COVID_KERAS_DATA, then data/)"
    )
    parser.add_argument(
        "--profile", metavar="P", help="paper, cpu or smoke (default: the most demanding whose data are found)"
    )
    parser.add_argument(
        "--out",
        type=_path,
        metavar="DIR",
        help="run folder (default: runs/PAPER-PROFILE); an unfinished run there goes on",
    )
    parser.add_argument("--cache", type=_path, metavar="DIR", help="prepared images and masks (default: OUT/../cache)")
    parser.add_argument(
        "--weights",
        type=os.path.expanduser,
        metavar="W",
        help="initial weights: imagenet, none or a file (default: the protocol's)",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a weight file that one part needs, such as resnet18=FILE; may be given several times",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the protocol, such as options.cit.lambda_=0.05; may be given several times",
    )
    parser.add_argument("--strategy", default="auto", metavar="S", help="auto, one, mirrored or tpu (default: auto)")
    parser.add_argument(
        "--precision",
        default="float32",
        metavar="F",
        help="float32, bf16 or fp16 (default: float32, as all reported numbers)",
    )
    parser.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="train only every N-th execution from the I-th on; the report is made once all are there",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="executions trained at the same time on this machine (default: the profile's); small networks gain by it",
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="spread the executions over a Dask cluster that shares the run folder"
    )


def _reproduce(options: argparse.Namespace) -> int:
    from covid_keras.training.choices import PRECISIONS, STRATEGIES, parse_shard, require_choice

    # Before pandas and scikit-learn are imported, which takes a second or more.
    require_choice("--strategy", options.strategy, STRATEGIES)
    require_choice("--precision", options.precision, PRECISIONS)
    parse_shard(options.shard)
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}", "is no number of executions", "Give 1 or more")
    if options.dask and options.jobs is not None:
        raise UserError("--jobs", "is for one machine, and --dask was given", "Start as many Dask workers instead")
    from covid_keras.commands.reproduce import reproduce

    return reproduce(options)


def _add_report(commands) -> None:
    parser = _command(
        commands,
        "report",
        "make the tables, figures and the page of a run again, from its predictions",
        _report,
        "  covid-keras report runs/covid_sdnet-cpu\n",
    )
    parser.add_argument("run_folder", type=_path, metavar="RUN")
    parser.add_argument(
        "--no-heatmaps", action="store_true", help="leave out Grad-CAM, which needs TensorFlow and the images"
    )


def _report(options: argparse.Namespace) -> int:
    from covid_keras.reporting.run import report_run

    _say_where(report_run(options.run_folder, heatmaps=not options.no_heatmaps))
    return 0


def _add_publish(commands) -> None:
    parser = _command(
        commands,
        "publish",
        "put a finished run's numbers into this repository: results, and the tables of the READMEs",
        _publish,
        "  covid-keras publish runs/covid_sdnet-cpu\n",
    )
    parser.add_argument(
        "run_folder",
        type=_path,
        nargs="?",
        metavar="RUN",
        help="without it only the READMEs and papers/RESULTS.md are made again",
    )


def _publish(options: argparse.Namespace) -> int:
    from covid_keras.reporting.publish import publish_run, refresh_readmes

    _say_where(publish_run(options.run_folder) if options.run_folder else refresh_readmes())
    return 0


def _add_results(commands) -> None:
    parser = _command(
        commands,
        "results",
        "write the suite's own page: every paper, system and cohort, from the committed results alone",
        _results,
        "  covid-keras results\n  covid-keras results --out results.html\n",
    )
    parser.add_argument(
        "--out",
        type=_path,
        default=Path("runs/results.html"),
        metavar="FILE",
        help="the page (default: runs/results.html); in a checkout papers/RESULTS.md is written, too",
    )


def _results(options: argparse.Namespace) -> int:
    from covid_keras.reporting.publish import write_results

    print(f"Output: {' and '.join(map(str, write_results(options.out)))}")
    return 0


def _add_segment(commands) -> None:
    parser = _command(
        commands,
        "segment",
        "mark the lungs of radiographs with the shipped U-Net",
        _segment,
        "  covid-keras segment chest.png other.dcm --out lungs\n",
    )
    parser.add_argument("images", nargs="+", type=_path, metavar="IMAGE", help="PNG, JPEG, TIFF or DICOM")
    parser.add_argument(
        "--out",
        type=_path,
        default=Path("lungs"),
        metavar="DIR",
        help="receives STEM_mask.png, STEM_crop.png, STEM_overlay.png (default: lungs)",
    )
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


def _segment(options: argparse.Namespace) -> int:
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.inference.segmentation import segment_files

    _say_where(segment_files(options.images, options.out, options.weights, options.threshold))
    return 0


def _add_predict(commands) -> None:
    parser = _command(
        commands,
        "predict",
        "say what a trained network makes of radiographs of your own, for research only",
        _predict,
        "  covid-keras predict chest.png other.dcm --model covid_cxnet --heatmap --out predictions\n"
        "  covid-keras predict --check-view *.png     refuse lateral views and what is no chest radiograph\n\n"
        f"{DISCLAIMER}\n",
    )
    parser.add_argument(
        "images", nargs="+", type=_path, metavar="IMAGE", help="frontal chest radiograph: PNG, JPEG, TIFF or DICOM"
    )
    parser.add_argument(
        "--model", default="covid_cxnet", metavar="NAME", help="registered network (default: covid_cxnet)"
    )
    parser.add_argument(
        "--heatmap", action="store_true", help="draw the lungs and a Grad-CAM heat map of each, STEM_heatmap.png"
    )
    parser.add_argument(
        "--out",
        type=_path,
        default=Path("predictions"),
        metavar="DIR",
        help="receives predictions.csv, predictions.json and the heat maps (default: predictions)",
    )
    parser.add_argument(
        "--weights", type=_path, metavar="FILE", help="your own weights of the same network (default: the registered)"
    )
    parser.add_argument(
        "--check-view",
        action="store_true",
        help="predict nothing unless every IMAGE is a frontal chest radiograph; name each that is not, and why",
    )


def _predict(options: argparse.Namespace) -> int:
    from covid_keras.inference.prediction import predict_files
    from covid_keras.inference.view_check import RefusedImages

    try:
        found = predict_files(
            options.images, options.out, options.model, options.weights, options.heatmap, options.check_view
        )
    except RefusedImages as refused:
        for error in refused.errors:
            _say_error(error)
        return EXIT_USER_ERROR
    print("\n".join(found.lines()))
    _say_where(found.folder)
    return 0


def _add_ensemble(commands) -> None:
    parser = _command(
        commands,
        "ensemble",
        "combine the systems of finished runs by a weighted average or a majority vote, without training",
        _ensemble,
        "  covid-keras ensemble runs/arias_vgg19-cpu --systems exp1_c exp1_d exp1_e\n"
        "  covid-keras ensemble runs/first:flat runs/second:flat --method vote --out runs/both\n"
        "  covid-keras ensemble papers/arias_vgg19/results/cpu-predictions-2.csv --systems exp1_c exp1_d exp1_e\n"
        "  covid-keras ensemble runs/arias_vgg19-cpu --systems exp1_c exp1_e --weights 0.7,0.3\n",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=os.path.expanduser,
        metavar="RUN[:SYSTEM]",
        help="run folder, or a file of predictions, with one of its systems or without",
    )
    parser.add_argument(
        "--systems", nargs="+", default=[], metavar="S", help="members, looked for in what is given without a system"
    )
    parser.add_argument("--method", choices=("average", "vote"), default="average", help="default: average")
    parser.add_argument(
        "--weights",
        metavar="W",
        help="of an average: validation (chosen by accuracy on validation images; default), proportional (to that"
        " accuracy), equal, or numbers in the order of the members, such as 0.3,0.3,0.4",
    )
    parser.add_argument(
        "--step", type=float, metavar="X", help="grid of the weights that validation tries (default: 0.05)"
    )
    parser.add_argument(
        "--ties",
        choices=("probability", "lowest"),
        help="of a vote: the class with the largest summed score of those that tie (default), or the first",
    )
    parser.add_argument(
        "--leave-out",
        action="store_true",
        help="leave out images that one member was trained on and another tests, instead of refusing",
    )
    parser.add_argument(
        "--out",
        type=_path,
        default=Path("runs/ensemble"),
        metavar="DIR",
        help="receives predictions.csv and ensemble.json (default: runs/ensemble)",
    )


def _ensemble(options: argparse.Namespace) -> int:
    from covid_keras.reporting.ensemble import Rule, combine_systems

    rule = Rule.of(options.method, options.weights, options.ties, options.step)
    found = combine_systems(options.sources, options.systems, options.out, rule, options.leave_out)
    print("\n".join(found.lines()))
    _say_where(options.out)
    return 0


def _add_audit(commands) -> None:
    parser = _command(
        commands,
        "audit",
        "say of every printed number of a paper whether it is possible, and why not; no data needed",
        _audit,
        "  covid-keras audit                          all papers\n"
        "  covid-keras audit tabik --all-cells        consistent numbers as well, with the arithmetic\n"
        "  covid-keras audit my_paper.yaml --out my_paper.csv\n\n"
        "A FILE.yaml holds the tables of any paper; papers/example_audit.yaml is one to start from, its keys are\n"
        "described in covid_keras/evaluation/published.py and facts.py.\n",
    )
    parser.add_argument(
        "paper",
        nargs="?",
        type=os.path.expanduser,
        metavar="PAPER|FILE.yaml",
        help="name or alias of a paper, or a file (default: all papers)",
    )
    parser.add_argument("--all-cells", action="store_true", help="print consistent and unchecked numbers as well")
    parser.add_argument("--out", type=_path, metavar="FILE.csv", help="write all cells, verdicts and proofs as CSV")


def _audit(options: argparse.Namespace) -> int:
    from covid_keras.commands.audit import run_audit

    run_audit(options.paper, options.all_cells, options.out)
    if options.out is not None:
        _say_where(options.out)
    return 0


def _add_lr_range(commands) -> None:
    parser = _command(
        commands,
        "lr-range",
        "Smith's learning-rate range test of one of a paper's networks",
        _lr_range,
        "  covid-keras lr-range haghanifar base_v2 --profile smoke --out runs/range\n",
    )
    parser.add_argument("paper", metavar="PAPER", help="name or alias of a paper")
    parser.add_argument("system", metavar="SYSTEM", help="one of its systems (covid-keras papers)")
    parser.add_argument("--data", type=_path, metavar="DIR", help="root of the collections")
    parser.add_argument("--profile", metavar="P", help="paper, cpu or smoke (default: what the data allow)")
    parser.add_argument("--weights", type=os.path.expanduser, metavar="W", help="imagenet, none or a file")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=FILE", help="a further weight file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the protocol")
    parser.add_argument("--low", type=float, default=1e-7, metavar="LR", help="first rate (default: 1e-7)")
    parser.add_argument("--high", type=float, default=0.1, metavar="LR", help="last rate (default: 0.1)")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="batches (default: 100)")
    parser.add_argument(
        "--out",
        type=_path,
        default=Path("runs/lr-range"),
        metavar="DIR",
        help="receives SYSTEM.csv and SYSTEM.png (default: runs/lr-range)",
    )


def _lr_range(options: argparse.Namespace) -> int:
    from covid_keras.commands.lr_range import run_range_test

    _say_where(run_range_test(options))
    return 0


def _add_data(commands) -> None:
    parser = _command(
        commands,
        "data",
        "list, check, compare and download the image collections",
        None,
        "  covid-keras data list\n"
        "  covid-keras data check --data ~/radiographs\n"
        "  covid-keras data download cohen --unverified --data data\n",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="each collection: where it lives, its licence, size, how to get it")
    listing.set_defaults(run=_data_list)
    check = actions.add_parser("check", help="expected and found counts of the collections that are there")
    check.add_argument("sources", nargs="*", metavar="SOURCE", help="default: all that are found")
    check.set_defaults(run=_data_check)
    download = actions.add_parser("download", help="fetch a collection that has a plain address")
    download.add_argument("sources", nargs="+", metavar="SOURCE")
    download.add_argument(
        "--unverified",
        action="store_true",
        help="fetch also what has no pinned SHA-256 (GitHub's archives); that of what came is printed",
    )
    download.set_defaults(run=_data_download)
    overlap = actions.add_parser("overlap", help="near-duplicate images within and between collections")
    overlap.add_argument("sources", nargs="*", metavar="SOURCE", help="default: all classification sources found")
    overlap.add_argument(
        "--out", type=_path, default=Path("runs/overlap.csv"), metavar="FILE", help="the pairs, as CSV"
    )
    overlap.set_defaults(run=_data_overlap)
    for action in (listing, check, download, overlap):
        action.add_argument(
            "--data",
            type=_path,
            metavar="DIR",
            help="folder of the collections (default: COVID_KERAS_DATA, then data/)",
        )


def _data_list(options: argparse.Namespace) -> int:
    from covid_keras.commands import data as commands

    return commands.list_sources(options.data)


def _data_check(options: argparse.Namespace) -> int:
    from covid_keras.commands import data as commands

    return commands.check_sources(options.data, options.sources)


def _data_overlap(options: argparse.Namespace) -> int:
    from covid_keras.commands import data as commands

    return commands.show_overlap(options.data, options.sources, options.out)


def _data_download(options: argparse.Namespace) -> int:
    from covid_keras.commands import data as commands

    return commands.download_sources(options.data, options.sources, options.unverified)


def _add_weights(commands) -> None:
    parser = _command(
        commands,
        "weights",
        "list, check, add, download and convert weight files",
        None,
        "  covid-keras weights list\n"
        "  covid-keras weights download resnet50_notop\n"
        "  covid-keras weights add ~/Downloads/weights-improvement-binary-86.h5\n"
        "  covid-keras weights convert lungs.weights.h5 lungs.h5 --like lungs_unet16 --legacy\n\n"
        "environment:\n"
        "  COVID_KERAS_WEIGHTS   folder of the files that do not ship (default: ~/.cache/covid_keras/weights)\n",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what each registered file is, its origin and licence, where it is")
    listing.set_defaults(run=_weights_list)
    check = actions.add_parser("check", help="whether the files that are here are the registered ones")
    check.set_defaults(run=_weights_check)
    add = actions.add_parser("add", help="keep a file fetched by hand, known by its digest, whatever it is called")
    add.add_argument("file", type=_path, metavar="FILE")
    add.add_argument("--as", dest="name", metavar="NAME", help="the registered name that it should be")
    add.set_defaults(run=_weights_add)
    download = actions.add_parser("download", help="fetch registered files that have plain addresses")
    download.add_argument("names", nargs="+", metavar="NAME")
    download.set_defaults(run=_weights_download)
    convert = actions.add_parser("convert", help="write a weight file in the other HDF5 layout")
    convert.add_argument("source", type=_path, metavar="IN", help="legacy .h5 or Keras 3 .weights.h5")
    convert.add_argument("target", type=_path, metavar="OUT", help=".weights.h5; with --legacy .h5 or .hdf5")
    convert.add_argument("--like", required=True, metavar="NAME", help="registered name of the same network")
    convert.add_argument("--legacy", action="store_true", help="write the layout of Keras 1 and 2, a group a layer")
    convert.set_defaults(run=_weights_convert)
    export = actions.add_parser("export", help="write the best weights of a finished training as one .h5 file")
    export.add_argument("path", type=_path, metavar="RUN", help="a run folder")
    export.add_argument("system", metavar="SYSTEM", help="one of its systems")
    export.add_argument("file", type=_path, metavar="FILE", help="the .h5 file to write")
    export.add_argument("--repeat", type=int, default=0, metavar="N", help="from 0 (default: 0)")
    export.add_argument("--fold", type=int, default=0, metavar="N", help="from 0 (default: 0)")
    export.set_defaults(run=_weights_export)


def _weights_list(options: argparse.Namespace) -> int:
    from covid_keras.commands import weights as weight_files

    return weight_files.list_weights()


def _weights_check(options: argparse.Namespace) -> int:
    from covid_keras.commands import weights as weight_files

    return weight_files.check_weights()


def _weights_add(options: argparse.Namespace) -> int:
    from covid_keras.commands import weights as weight_files

    return weight_files.add_weights(options.file, options.name)


def _weights_download(options: argparse.Namespace) -> int:
    from covid_keras.commands import weights as weight_files

    return weight_files.download_weights(options.names)


def _weights_convert(options: argparse.Namespace) -> int:
    from covid_keras.commands import weights as weight_files

    entry = weight_files.check_conversion(options.source, options.target, options.like, options.legacy)
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.models.weights import convert_weights

    report = convert_weights(options.source, options.target, entry, options.legacy)
    print(f"{len(report.assigned)} tensors, {report.parameters:,} values, read in the {report.layout} layout")
    _say_where(options.target)
    return 0


def _weights_export(options: argparse.Namespace) -> int:
    from covid_keras.training.export import export_weights

    print(export_weights(options.path, options.system, options.file, options.repeat, options.fold))
    _say_where(options.file)
    return 0


def _add_papers(commands) -> None:
    _command(commands, "papers", "list the papers, their profiles and systems", _papers, "  covid-keras papers\n")


def _papers(options: argparse.Namespace) -> int:
    from covid_keras.paper.paper import load_papers

    for paper in load_papers().values():
        print(
            f"{paper.name} (also: {', '.join(paper.aliases)})\n    {paper.title}\n    {paper.citation}. doi:{paper.doi}"
        )
        print(
            f"    profiles: {', '.join(paper.profiles)}\n"
            f"    systems: {', '.join(system.name for system in paper.systems)}"
        )
    return 0


def _add_train_lungs(commands) -> None:
    parser = _command(
        commands,
        "train-lungs",
        "train the lung U-Net again, by the recipe behind the shipped weights",
        _train_lungs,
        "  covid-keras train-lungs --data ~/radiographs --out runs/lungs\n",
    )
    parser.add_argument(
        "--data", type=_path, metavar="DIR", help="folder of the collections (default: COVID_KERAS_DATA, then data/)"
    )
    parser.add_argument("--out", type=_path, default=Path("runs/lungs"), metavar="DIR", help="default: runs/lungs")
    parser.add_argument("--epochs", type=int, metavar="N", help="default: as shipped")
    parser.add_argument(
        "--precision",
        default="bf16",
        metavar="F",
        help="float32, bf16 or fp16 while training (default: bf16, as shipped)",
    )


def _train_lungs(options: argparse.Namespace) -> int:
    from covid_keras.commands.train_lungs import train_lungs

    _say_where(train_lungs(options.data, options.out, options.epochs, options.precision))
    return 0


def _say_error(error: UserError) -> None:
    sys.stderr.write(f"covid-keras: error: {error}\n")


def _say_where(path: Path) -> None:
    print(f"Output: {path}")


if __name__ == "__main__":
    sys.exit(main())
