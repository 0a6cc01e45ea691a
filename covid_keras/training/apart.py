"""Call a function in a process of its own: TensorFlow gives a GPU's memory back only at the end of a process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from covid_keras.common.errors import UserError
from covid_keras.common.memory import TRAIN_LESS
from covid_keras.training.worker import die_with_parent

Result = TypeVar("Result")


def call_apart(what: str, call: Callable[..., Result], *given: object) -> Result:
    """Return the result of a function that is called in a fresh process, which ends with this one.

    Function, arguments and result must be picklable; an exception is raised here.

    Raises
    ------
    UserError
        Also if the process is killed, as by the system when memory runs out; `what` names its work.
    """
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, die_with_parent) as pool:
        try:
            return pool.submit(call, *given).result()
        except BrokenProcessPool as error:
            raise UserError(what, "its process was killed, as when memory runs out", TRAIN_LESS) from error
