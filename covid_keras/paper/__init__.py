"""The contract between the suite and a paper: `Paper`, the kinds of `System`, the protocol.

Importing it does not import TensorFlow.
"""

from covid_keras.paper.paper import Paper
from covid_keras.paper.registered import load_paper, load_papers
from covid_keras.paper.system import System
from covid_keras.paper.systems import BestOf, Composed, Ensemble, Released, Trained

__all__ = [
    "BestOf",
    "Composed",
    "Ensemble",
    "Paper",
    "Released",
    "System",
    "Trained",
    "load_paper",
    "load_papers",
]
