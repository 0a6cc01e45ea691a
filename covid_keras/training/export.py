"""Export the weights of a finished execution as one file, for `predict`, the registry, or other software."""

from __future__ import annotations

from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.common.files import sha256_of
from covid_keras.common.quiet import import_tensorflow
from covid_keras.training.runfolder import RunFolder


def export_weights(path: str | Path, system: str, out: str | Path, repeat: int = 0, fold: int = 0) -> str:
    """Write the best weights of an execution as legacy HDF5; return the facts for a registry entry.

    Parameters
    ----------
    path : str or Path
        A run folder.
    system : str
        One of its systems, trained in it.
    out : str or Path
        The `.h5` file, written atomically.
    repeat, fold : int
        From 0.

    Raises
    ------
    UserError
        If the run has no such execution, it is not finished, or its system has no network of its own.
    """
    run = RunFolder.open(path)
    run.paper.system(system).require_trained("Export the system that it builds on")
    if Path(out).suffix not in (".h5", ".hdf5"):
        raise UserError(out, "must end in .h5", "Rename it: other programs rely on the suffix")
    execution = run.execution(system, repeat, fold)
    if not execution.ended:
        raise UserError(execution.name, f"is not finished in {run.path}", "Train it first")
    import_tensorflow()
    from covid_keras.models.weights import save_weights

    model = execution.network
    saved = save_weights(model, out)
    return (
        f"{execution.name}: {model.count_params():,} parameters, input {model.input_shape[1:]}\n"
        f"sha256: {sha256_of(saved)}\nbytes: {saved.stat().st_size}"
    )
