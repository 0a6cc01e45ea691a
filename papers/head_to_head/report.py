"""The report of the comparison: what it shows, then the numbers behind each sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pandas as pd

from covid_keras.evaluation.estimates import Estimate
from covid_keras.reporting.document import FigureEntry, Section, TableEntry
from covid_keras.reporting.prose import notes, prose, titled
from covid_keras.reporting.results import PaperReport, Results
from covid_keras.reporting.wording import NOTHING, number, with_bounds
from papers.head_to_head.comparison import Comparison
from papers.head_to_head.findings import CHANCE, STEPS, facts
from papers.head_to_head.methods import FLOORS, METHODS, OF_COVID, OF_FINDING

PROSE = ("papers.head_to_head", "report.md.j2")
_said: Callable[..., tuple[str, str]] = partial(titled, *PROSE)
# Those with a network of their own, each tested on the sources that it is trained on.
NETWORKS = tuple(name for name in METHODS if name not in (*FLOORS, "ensemble"))


class Report(PaperReport):
    """The sections of the comparison."""

    def sections(self, results: Results) -> list[Section]:
        """Return what the comparison shows, and its tables and figures."""
        return list(sections_of(Comparison.of(results)))

    def summary(self, results: Results) -> Section | None:
        """Return what it shows, with one table and one figure."""
        return short_form(Comparison.of(results), results.protocol_text["description"])


REPORT = Report(notes=notes(*PROSE, "notes"), pairs=(), heat_systems=NETWORKS, cost_systems=tuple(METHODS))


def sentences(found: Comparison) -> list[tuple[str, str]]:
    """Return what the numbers show, as (title, text)."""
    said: dict[str, str] = {}
    for block, values in facts(found):
        title, text = _said(block, where=_where(values.get("test", "")), **values)
        said[title] = f"{said.get(title, '')} {text}".strip()
    return list(said.items()) or [_said("shows_none")]


def _where(test: str) -> str:
    return prose(*PROSE, "where", test=test)


def sections_of(found: Comparison) -> Iterator[Section]:
    """Yield the sections; empty ones are not shown."""
    if found.tables:
        yield Section("What it shows", notes=sentences(found))
        yield Section("Discrimination", tables=[auc_table(found)], figures=list(auc_figures(found)))
        yield Section("Differences", tables=[*difference_tables(found), *change_tables(found)])
        yield rank_section(found)
        yield operating_section(found)
        yield heat_section(found)
        yield cost_section(found)


def short_form(found: Comparison, description: str = "") -> Section | None:
    """Return what the comparison shows, with one table and one figure; None if nothing was run.

    `description` says what it was run on; the figure's file lies in the folder of this package.
    """
    if not found.tables:
        return None
    title, text = _said("short", description=description)
    picture = next(auc_figures(found))
    picture = picture._replace(file=f"head_to_head/{picture.file}")
    return Section(title, text, [auc_table(found)], [picture], notes=sentences(found), link="Head to head")


# ---------------------------------------------------------------------------------------------------- AUC


def _table(names: Iterable[str], columns: dict[str, Callable[[str], str]]) -> pd.DataFrame:
    """Return one row per method, and a column per function of its name."""
    return pd.DataFrame(
        [{"method": METHODS[name].title} | {head: of(name) for head, of in columns.items()} for name in names]
    )


def _bounded(one: Estimate | None, signed: bool = False, unit: str = "percent") -> str:
    return NOTHING if one is None else with_bounds(one.value, one.low, one.high, signed, unit, one.interval)


def auc_table(found: Comparison) -> TableEntry:
    """Return the AUC by method and test."""
    words = " ".join(prose(*PROSE, "test_words", test=test) for test in found.tests)
    columns = {test: lambda name, test=test: _bounded(found.estimate(name, test)) for test in found.tests}
    return TableEntry(*_said("table", tests=words), _table(found.all_methods, columns))


def auc_figures(found: Comparison) -> Iterator[FigureEntry]:
    """Yield the AUC by method, one mark per test, one figure per training."""
    from covid_keras.reporting.forest import forest_figure

    for tests in (OF_COVID, OF_FINDING):
        rows = [
            _drawn(name, test, one)
            for name in found.all_methods
            for test in tests
            if (one := found.estimate(name, test)) is not None
        ]
        if rows:
            words = _said("auc_figure", tests=[test for test in tests if test in found.tests])
            figure = forest_figure(pd.DataFrame(rows), words[0], "AUC (%)", CHANCE, "chance")
            yield FigureEntry(*words, figure, f"auc-{tests[0]}.svg")


def _drawn(name: str, part: str, one: Estimate) -> dict[str, object]:
    """Return a row of `forest_figure`."""
    place = {"task": METHODS[name].title, "part": part, "control": name in FLOORS}
    return place | {"mean": one.value, "low": one.low, "high": one.high}


def difference_tables(found: Comparison) -> Iterator[TableEntry]:
    """Yield the differences to the best method, one table per training."""
    for tests in (OF_COVID, OF_FINDING):
        less = {test: one for test in tests if (one := found.less_best(test))}
        if less:
            best = found.best(tests)
            names = [name for name in found.all_methods if any(name in one for one in less.values())]
            columns = {test: lambda name, one=one: _bounded(one.get(name), True) for test, one in less.items()}
            told = {"best": METHODS[best.name].title, "on_validation": best.on_validation, "methods": len(names) + 1}
            yield TableEntry(*_said("differences", **told), _table(names, columns))


def change_tables(found: Comparison) -> Iterator[TableEntry]:
    """Yield the change of the AUC from one test to the next, the largest loss last."""
    changes = {f"{before} to {after}": found.changes(before, after) for before, after in STEPS.items()}
    changes = {words: one for words, one in changes.items() if one}
    if changes:
        names = [name for name in found.all_methods if any(name in one for one in changes.values())]
        columns = {words: lambda name, one=one: _bounded(one.get(name), True) for words, one in changes.items()}
        yield TableEntry(*_said("changes"), _table(names, columns))


def rank_section(found: Comparison) -> Section:
    """Return the ranks in each test of several methods."""
    from papers.head_to_head.figures import rank_figure

    ranks = {test: found.ranks(test) for test in found.tests if len(found.methods(test)) > 1}
    if not ranks:
        return Section("Ranks")
    words = _said("ranks")
    by_name = {test: frame.set_index("system") for test, frame in ranks.items()}

    def cell(name: str, test: str) -> str:
        if name not in by_name[test].index:
            return NOTHING
        one = by_name[test].loc[name]
        return f"{one['rank']:.0f} [{one['low']:.0f}, {one['high']:.0f}]\nfirst in {100 * one['first']:.0f} %"

    columns = {test: partial(cell, test=test) for test in ranks}
    figures = []
    for tests in (OF_COVID, OF_FINDING):
        shown = {
            test: frame.assign(system=[METHODS[name].title for name in frame["system"]])
            for test, frame in ranks.items()
            if test in tests
        }
        if shown:
            title = f"Ranks, {', '.join(shown)}"
            figures.append(FigureEntry(title, "", rank_figure(shown, title)))
    return Section("Ranks", tables=[TableEntry(*words, _table(found.all_methods, columns))], figures=figures)


# ---------------------------------------------------------------------------------------------------- scores


def operating_section(found: Comparison) -> Section:
    """Return what the thresholds of validation give on test images, Brier scores and calibration curves."""
    from papers.head_to_head.figures import calibration_panels

    details = []
    for test in found.tests:
        columns = {
            metric: lambda name, test=test, metric=metric: _bounded(found.estimate(name, test, metric))
            for metric in ("specificity", "sensitivity")
        }
        columns["Brier score"] = lambda name, test=test: _bounded(found.estimate(name, test, "brier"), unit="ratio")
        title, words = _said("operating", test=test, share=found.positives(test))
        details.append(Section(title, tables=[TableEntry(title, words, _table(found.methods(test), columns))]))
    figures = []
    for tests in (OF_COVID, OF_FINDING):
        curves = {
            METHODS[name].title: {test: found.curve(name, test) for test in tests if (name, test) in found.tables}
            for name in found.all_methods
        }
        curves = {title: by_test for title, by_test in curves.items() if by_test}
        if curves:
            words = _said("curves", tests=[test for test in tests if test in found.tests])
            figures.append(FigureEntry(*words, calibration_panels(curves, words[0], found.positive(tests))))
    return Section("Thresholds and calibration", figures=figures, details=details)


# ---------------------------------------------------------------------------------------------------- beside


def heat_section(found: Comparison) -> Section:
    """Return the share of heat in the lungs beyond chance, where it was measured."""
    from covid_keras.reporting.forest import forest_figure

    heat = found.heat()
    if not heat:
        return Section("Heat in the lungs")
    share, area = found.heat("heat_in_lungs"), found.heat("lung_area")
    columns = {
        "beyond chance": lambda name: _bounded(heat[name], True, "ratio"),
        "heat in the lungs": lambda name: number(share[name].value, unit="ratio"),
        "lungs' share of the picture": lambda name: number(area[name].value, unit="ratio"),
    }
    words = _said("heat")
    rows = pd.DataFrame([_drawn(name, "beyond chance", one) for name, one in heat.items()])
    figure = forest_figure(rows, words[0], "beyond chance", 0.0, "chance")
    return Section(
        "Heat in the lungs",
        tables=[TableEntry(*words, _table(heat, columns))],
        figures=[FigureEntry(words[0], "", figure)],
    )


def cost_section(found: Comparison) -> Section:
    """Return the cost per image, and the AUC against it, where it was measured."""
    from papers.head_to_head.figures import cost_figure

    costs = found.cost()
    if costs.empty:
        return Section("Cost per image")
    reference = costs["reference"].iloc[0]
    columns = {
        "parameters": lambda name: f"{costs.loc[name, 'parameters']:,.0f}",
        "operations (million)": lambda name: _significant(costs.loc[name, "flops"] / 1e6),
        f"time / {METHODS[reference].title}": lambda name: number(costs.loc[name, "ratio"]),
    }
    told = {"reference": METHODS[reference].title, "device": costs["device"].iloc[0]}
    told["milliseconds"] = costs.loc[reference, "milliseconds"]
    tables = [TableEntry(*_said("costs", **told), _table(costs.index, columns))]
    figures = []
    for test in (test for test in ("within", "across") if found.methods(test)):
        rows = [
            {"system": METHODS[name].title, "flops": costs.loc[name, "flops"], "floor": name in FLOORS} | one._asdict()
            for name in costs.index
            if (one := found.estimate(name, test)) is not None
        ]
        if rows:
            words = _said("cost_figure", test=test, where=_where(test))
            figures.append(FigureEntry(*words, cost_figure(pd.DataFrame(rows), words[0], "AUC (%)")))
    return Section("Cost per image", tables=tables, figures=figures)


def _significant(value: float) -> str:
    """Return a number with three significant digits, or all before the decimal point.

    >>> _significant(0.00205), _significant(1234.5)
    ('0.00205', '1,234')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
