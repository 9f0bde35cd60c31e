from __future__ import annotations

import itertools

import pytest

from server.admission.classes import PriorityClass


def test_classes_compare_by_urgency_and_not_by_spelling() -> None:
    assert sorted(PriorityClass) == [PriorityClass.BATCH, PriorityClass.STANDARD, PriorityClass.INTERACTIVE]
    assert max(PriorityClass) is PriorityClass.INTERACTIVE
    for low, high in itertools.combinations(sorted(PriorityClass), 2):
        assert low < high
        assert low <= high
        assert high > low
        assert high >= low
    assert PriorityClass.BATCH <= PriorityClass.BATCH
    assert PriorityClass.BATCH >= PriorityClass.BATCH
    assert not PriorityClass.BATCH < PriorityClass.BATCH


def test_an_unknown_class_does_not_compare() -> None:
    with pytest.raises(ValueError, match="urgent"):
        assert PriorityClass.BATCH < "urgent"
