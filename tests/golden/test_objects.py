"""Are good objects taken and bad ones refused, with words that help?"""

from __future__ import annotations

import pytest

from demarc.api import load, problem
from demarc.api.crd import DEFINITIONS
from demarc.api.load import CoreObject
from demarc.api.schema import ApiModel, Rule
from support import objects
from support.objects import Case


@pytest.mark.parametrize("name", objects.good())
def test_a_good_file_loads(name: str) -> None:
    """A valid object was refused, or its kind is not known."""
    loaded, problems = load.load(objects.good()[name], file=name)

    assert ((), True) == (problems, bool(loaded))


@pytest.mark.parametrize("name", objects.good())
def test_a_good_object_survives_writing_and_reading(name: str) -> None:
    """Dumping an object lost or changed a part of it."""
    for loaded in load.load(objects.good()[name], file=name)[0]:
        if isinstance(loaded, CoreObject):
            continue

        assert loaded == load.parse(loaded.dump())
        again = load.parse(loaded.manifest())
        assert not isinstance(again, tuple)
        assert loaded.spec == again.spec


@pytest.mark.parametrize("case", objects.bad(), ids=lambda case: case.name)
def test_a_bad_object_is_refused_with_its_reason(case: Case) -> None:
    """A mistake went through, or its text does not say what to do."""
    loaded, problems = load.load(case.text, file="")

    assert not loaded
    case.check("demarc", [str(each) for each in problems])


@pytest.mark.parametrize("case", objects.bad(), ids=lambda case: case.name)
def test_an_object_from_the_api_is_judged_like_one_from_a_file(case: Case) -> None:
    """The two ways in differ, so that one of them lets a mistake through."""
    found = load.parse(case.manifest)

    assert isinstance(found, tuple)
    if "site-name" not in case.name:
        assert len(load.load(case.text, file="")[1]) == len(found)


def test_every_expectation_has_a_case() -> None:
    """A file is left over."""
    assert () == objects.strays()


def test_every_rule_has_a_bad_object() -> None:
    """A rule that nobody has seen refuse anything may refuse nothing."""
    said = "\n".join(line for case in objects.bad() for line in case.want["demarc"])

    unseen = [rule.message for rule in _rules() if rule.message not in said]
    assert [] == unseen


def test_every_pattern_has_a_bad_object() -> None:
    """A pattern that nobody has seen refuse anything may refuse nothing."""
    said = "\n".join(line for case in objects.bad() for line in case.want["demarc"])

    unseen = [words for words in problem.PATTERN_WORDS.values() if f"must be {words}" not in said]
    assert [] == unseen


def _rules() -> frozenset[Rule]:
    found = set[Rule]()
    models: list[type[ApiModel]] = [definition.model for definition in DEFINITIONS]
    while models:
        model = models.pop()
        found.update(model.cel_rules)
        models += [
            inner
            for field in model.model_fields.values()
            for inner in problem.models_in(field.annotation)
            if issubclass(inner, ApiModel)
        ]
    return frozenset(found)
