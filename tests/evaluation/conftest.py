from __future__ import annotations

import pandas as pd
import pytest

from tests.helpers import predictions


@pytest.fixture
def two_by_three() -> pd.DataFrame:
    return predictions.two_by_three()
