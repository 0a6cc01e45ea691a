"""The numbers of the report on systems: segmenters, ensembles, validation and test, classes, literature.

Everything follows from predictions, records and printed numbers. Nothing here imports TensorFlow.
"""

from papers.hertel_ensemble.comparisons.classes import children_table, class_table
from papers.hertel_ensemble.comparisons.ensembles import (
    agreement,
    agreement_rows,
    gain_frame,
    gain_table,
    gains,
    weight_rows,
    weight_table,
)
from papers.hertel_ensemble.comparisons.literature import (
    claims_of,
    claims_table,
    compared_cells,
    counted_images,
    covidgr_table,
    literature_table,
)
from papers.hertel_ensemble.comparisons.names import NETWORKS, TASKS, cell_words, mean_words, short_title, systems_of
from papers.hertel_ensemble.comparisons.segmenters import segmenter_difference, segmenter_table
from papers.hertel_ensemble.comparisons.validation import claimed_drop, drop_table, drops, head_table

__all__ = [
    "NETWORKS",
    "TASKS",
    "agreement",
    "agreement_rows",
    "cell_words",
    "children_table",
    "claimed_drop",
    "claims_of",
    "claims_table",
    "class_table",
    "compared_cells",
    "counted_images",
    "covidgr_table",
    "drop_table",
    "drops",
    "gain_frame",
    "gain_table",
    "gains",
    "head_table",
    "literature_table",
    "mean_words",
    "segmenter_difference",
    "segmenter_table",
    "short_title",
    "systems_of",
    "weight_rows",
    "weight_table",
]
