"""The grade of each system's numbers in a table of the paper, decided from what a run really used.

Reproduction: all of the paper's images (section `evidence` of `protocol.yaml`), and every setting as in the paper's
first profile. Replication: the same settings, and a number of images close to the paper's, from each of its collections
and of each class (`covid_keras.paper.evidence.is_close`); images or division drawn anew where the paper does not
publish which; or fewer repeats. Stand-in: anything else, such as fewer images, other collections, another size, other
initial weights, or synthetic images. No system has a higher grade than the systems and the lung segmenter that it
builds on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from covid_keras.common.errors import UserError
from covid_keras.common.settings import CountOrZero, build
from covid_keras.evaluation.verdicts import Grade
from covid_keras.paper.changes import unread
from covid_keras.paper.evidence import Evidence, Found, count_classes, count_images
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.systems import Trained

PHANTOM = "phantom"
FULL_PRECISION = "float32"
_ORDER = tuple(Grade)
_LONG = 40  # characters of a value that is not written out


@dataclass(frozen=True)
class Used:
    """What a run used beside its protocol.

    Attributes
    ----------
    sources : mapping
        System or segmenter -> {collection: images}.
    classes : mapping
        System -> {its class: images}.
    precision : str
    files : mapping
        "weights", or a weight file given by name -> why it is not the published one.
    """

    sources: dict[str, dict[str, CountOrZero]]
    classes: dict[str, dict[str, CountOrZero]] = field(default_factory=dict)
    precision: str = FULL_PRECISION
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def recorded(cls, record: Mapping[str, Any], where: str) -> Used:
        """Read what a run recorded; raise `UserError` if an entry is missing or malformed."""
        keys = {"sources": "sources", "classes": "classes", "precision": "precision", "other_files": "files"}
        missing = next((key for key in keys if key not in record), None)
        if missing:
            raise UserError(where, f"lacks the key {missing!r}", "Publish the run again")
        return build(cls, {name: record[key] for key, name in keys.items()}, where)


@dataclass(frozen=True)
class RunGrading:
    """Grades the systems of a run: `grading(system, table)` is a `covid_keras.evaluation.verdicts.Grading`."""

    paper: Paper
    protocol: Protocol
    used: Used

    def __call__(self, system: str, table: str = "") -> tuple[Grade, str]:
        """Return the grade, and what keeps the numbers from a higher one ("" for a reproduction)."""
        found = {reason: grade for grade, reason in self._limits(system, table)}
        known = any(one.name == system for one in self.paper.systems)  # a paper may measure something beside them
        for name in self.paper.builds_on(system, self.protocol) if known else ():
            found |= {f"{name}: {reason}": grade for grade, reason in self._limits(name, table) if reason not in found}
        worst = max(found.values(), key=_ORDER.index, default=Grade.REPRODUCTION)
        return worst, "; ".join(reason for reason, grade in found.items() if grade == worst)

    @cached_property
    def published(self) -> Protocol:
        """The paper's own profile, the first."""
        return self.paper.protocol(self.paper.profiles[0])

    def _limits(self, name: str, table: str) -> Iterator[tuple[Grade, str]]:
        """Yield what limits a system's grade, without the systems that it builds on."""
        if PHANTOM in self.used.sources.get(name, {}):
            yield Grade.STAND_IN, "synthetic images"  # whatever else differs
            return
        if name not in self.published.systems:
            yield Grade.STAND_IN, f"{name} is not in profile {self.published.profile!r}"
            return
        yield from self._of_images(name, table)
        if reason := self.paper.system(name).surrogate(self.protocol):
            yield Grade.STAND_IN, reason
        yield from ((Grade.STAND_IN, reason) for reason in self.differences(name))
        for file in self.protocol.files:
            if file not in self.paper.registered and self.paper.reads(name, _key_of_file(file)):
                yield Grade.REPLICATION, f"nothing tells whether the file given for {file} is the published one"
        at_a_time, batch = self.protocol.micro_batch, self.paper.system(name).training(self.protocol).batch_size
        if 0 < at_a_time < batch and self.paper.system(name).learns_by(self.protocol):
            yield Grade.REPLICATION, f"batch statistics of {at_a_time} images instead of {batch}"
        ours, theirs = (self.paper.system(name).repeats(one) for one in (self.protocol, self.published))
        if ours < theirs:
            yield Grade.REPLICATION, f"repeats {ours} instead of {theirs}"

    def _of_images(self, name: str, table: str) -> Iterator[tuple[Grade, str]]:
        used = self.used.sources.get(name, {})
        evidence = self.paper.evidence_of(name, table)
        if evidence is None or not used:
            missing = "does not say which images the paper used" if used else "has no record of the images used"
            yield Grade.STAND_IN, f"{'protocol.yaml' if used else 'the run'} {missing} for {name}"
            return
        if evidence.differs:
            yield Grade.STAND_IN, evidence.differs
        yield from self._of_numbers(name, evidence, count_images(evidence, used))
        if evidence.drawn:
            yield Grade.REPLICATION, evidence.drawn

    def _of_numbers(self, name: str, evidence: Evidence, images: Found) -> Iterator[tuple[Grade, str]]:
        if images.others:
            listed = ", ".join(f"{other} {count:,}" for other, count in images.others.items())
            yield Grade.STAND_IN, f"images of other collections than the paper's: {listed}"
        if images.differences:
            few = f"{images.found:,} of the paper's {images.wanted:,} images"
            lead = few if images.found < images.wanted else "more images than the paper's"
            yield _grade_of(images), f"{lead} ({', '.join(images.differences)})"
        if not evidence.classes:
            return
        if name not in self.used.classes:
            yield Grade.STAND_IN, f"the run has no record of the images of each class for {name}"
            return
        classes = count_classes(evidence, self.used.classes[name])
        if classes.differences:
            yield _grade_of(classes), f"images by class: {', '.join(classes.differences)}"

    def _unread(self, name: str, key: str) -> bool:
        """Return whether neither protocol's training of a system reads a setting."""
        system, (first, _, rest) = self.paper.system(name), key.partition(".")
        if first != "training" or not isinstance(system, Trained):
            return False
        return all(unread(system, one, rest) for one in (self.protocol, self.published))

    def differences(self, name: str) -> list[str]:
        """Return the settings of a system that are not the paper's, one text each."""
        ours, theirs = (self.paper.settings_read(name, one) for one in (self.protocol, self.published))
        keys = [key for key in dict.fromkeys([*theirs, *ours]) if ours.get(key) != theirs.get(key)]
        # Of another kind of cohort, the collections decide.
        keys = [key for key in keys if not key.startswith("cohort.") or (key in ours and key in theirs)]
        keys = [key for key in keys if not self._unread(name, key)]
        reasons = [_difference(key, ours.get(key), theirs.get(key)) for key in keys]
        reasons += [why for file, why in self.used.files.items() if self.paper.reads(name, _key_of_file(file))]
        if self.used.precision != FULL_PRECISION:
            reasons.append(f"computed in {self.used.precision}")
        return reasons


def _grade_of(found: Found) -> Grade:
    return Grade.REPLICATION if found.close else Grade.STAND_IN


def _key_of_file(name: str) -> str:
    return name if name == "weights" else f"files.{name}"


def _difference(key: str, ours: Any, theirs: Any) -> str:
    """Return a difference of a setting as text.

    >>> _difference("size", [64, 64], [224, 224]), _difference("training.optimizer.learning_rate", 0.01, 0.001)
    ('64 px instead of 224 px', 'optimizer learning rate 0.01 instead of 0.001')
    """
    first, _, rest = key.partition(".")
    words = (rest or first).replace(".", " ").replace("_", " ").strip()
    words = {"size": "", "weights": "initial weights"}.get(words, words)
    unit = " px" if key.rpartition(".")[2] == "size" and isinstance(ours, int) else ""
    here, there = _shown(ours) + unit, _shown(theirs) + unit
    text = f"{here} instead of {there}" if max(len(here), len(there)) <= _LONG else "not as in the paper"
    return f"{words} {text}".strip()


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "the default"
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value):
        return f"{value[0]} px" if value[0] == value[1] else f"{value[0]} x {value[1]} px"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
