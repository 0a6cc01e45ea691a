"""What a user is told: one line, about the right thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from covid_keras.common.errors import UserError


def refused(words: str, call: Callable[..., Any], *given: Any, **named: Any) -> str:
    """Assert that a call raises `UserError` in one line that matches `words`, a regular expression; return it."""
    with pytest.raises(UserError, match=words) as caught:
        call(*given, **named)
    text = str(caught.value)
    assert "\n" not in text
    return text
