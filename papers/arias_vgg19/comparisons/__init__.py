"""The numbers of this paper's report, computed from predictions, records and printed numbers.

Nothing here imports TensorFlow.
"""

from covid_keras.reporting.differences import shared_executions, shared_test_rows
from papers.arias_vgg19.comparisons.controls import (
    Beside,
    auc_by_part,
    control_table,
    follow_ups,
    less_table,
    set_beside,
    told_controls,
)
from papers.arias_vgg19.comparisons.names import chosen_systems, labels_of, part_title, title_of
from papers.arias_vgg19.comparisons.networks import depth_table, faulty_table, mean_table, unet_table, unet_title
from papers.arias_vgg19.comparisons.parts import curves_of, difference_table, part_differences, printed_difference
from papers.arias_vgg19.comparisons.thresholds import (
    STEPS,
    ThresholdCurves,
    best_thresholds,
    right_answers,
    threshold_curves,
    threshold_rows,
)
from papers.arias_vgg19.comparisons.view_filter import (
    FATES,
    UNKNOWN_VIEW,
    always_frontal,
    fate_table,
    filter_answers,
    true_views,
    view_frames,
    view_table,
)

__all__ = [
    "FATES",
    "STEPS",
    "UNKNOWN_VIEW",
    "Beside",
    "ThresholdCurves",
    "always_frontal",
    "auc_by_part",
    "best_thresholds",
    "chosen_systems",
    "control_table",
    "curves_of",
    "depth_table",
    "difference_table",
    "fate_table",
    "faulty_table",
    "filter_answers",
    "follow_ups",
    "labels_of",
    "less_table",
    "mean_table",
    "part_differences",
    "part_title",
    "printed_difference",
    "right_answers",
    "set_beside",
    "shared_executions",
    "shared_test_rows",
    "threshold_curves",
    "threshold_rows",
    "title_of",
    "told_controls",
    "true_views",
    "unet_table",
    "unet_title",
    "view_frames",
    "view_table",
]
