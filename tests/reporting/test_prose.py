"""Texts of reports from templates."""

from __future__ import annotations

import jinja2
import pytest

from covid_keras.reporting.prose import notes, prose

TEMPLATE = """\
{% block caption %}
Of {{ counted(images, "image") }} on
two lines: {{ mean | number }} {{ interval(low, high) }}, {{ change | signed }}; {{ share | percent }}.

{% if images > 1 %}
A paragraph {{ "more" | sentence }} & <so on>.
{% endif %}
{% endblock %}
{% block known %}
## Class is collection

The first
text.

## Two accuracies

One.

Two.
{% endblock %}
"""
VALUES = {"images": 1, "mean": 80, "low": 75, "high": 85.5, "change": -1, "share": 0.25}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "report.md").write_text(TEMPLATE)
    return tmp_path


def test_a_paragraph_is_one_line(folder):
    first = "Of 1 image on two lines: 80.00 [75.00, 85.50], −1.00; 25 %."
    assert prose(folder, "report.md", "caption", **VALUES) == first
    two = prose(folder, "report.md", "caption", **VALUES | {"images": 2}).split("\n\n")
    assert two == [first.replace("1 image", "2 images"), "A paragraph More & <so on>."]


def test_notes_are_titles_and_texts(folder):
    assert notes(folder, "report.md", "known") == (
        ("Class is collection", "The first text."),
        ("Two accuracies", "One.\n\nTwo."),
    )


def test_what_is_missing_is_an_error(folder):
    with pytest.raises(jinja2.UndefinedError, match="share"):
        prose(folder, "report.md", "caption", **{name: VALUES[name] for name in VALUES if name != "share"})
    with pytest.raises(KeyError, match="nothing"):
        prose(folder, "report.md", "nothing")
    with pytest.raises(jinja2.TemplateNotFound):
        prose("covid_keras.reporting", "nothing.md")
