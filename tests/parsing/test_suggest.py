from __future__ import annotations

from abc import ABC, abstractmethod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_lightning.parsing.suggest import did_you_mean, join_names, known_subclasses, nearest
from tests.parsing.examples import Cosine, Curve, Linear, Shape

KEYS = ["trainer.max_steps", "trainer.max_time", "model.optimizer.lr", "model.schedule.warmup", "data.source", "seed"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trainer.max_step", "trainer.max_steps"),
        ("max_steps", "trainer.max_steps"),
        ("trainer.max-steps", "trainer.max_steps"),
        ("Trainer.Max_Steps", "trainer.max_steps"),
        ("lr", "model.optimizer.lr"),
        ("model.lr", "model.optimizer.lr"),
        ("data.souurce", "data.source"),
        ("sede", "seed"),
    ],
)
def test_slip_finds_what_was_meant(typed: str, meant: str) -> None:
    assert nearest(typed, KEYS) == [meant]


@pytest.mark.parametrize("typed", ["model.zzz", "trainer.xyz", "colour", ""])
def test_a_common_parent_alone_is_no_likeness(typed: str) -> None:
    assert nearest(typed, KEYS) == []


@given(st.sampled_from(KEYS), st.data())
def test_one_letter_left_out_is_forgiven(key: str, data: st.DataObject) -> None:
    short = max(key.split("."), key=len)
    at = data.draw(st.integers(0, len(short) - 1))
    assert key in nearest(key.replace(short, short[:at] + short[at + 1 :]), KEYS)


def test_limit_and_order() -> None:
    assert nearest("abcx", ["abcd", "abce", "abcx1", "zzzz"], limit=1) == ["abcx1"]
    assert nearest("abcx", ["abce", "abcd"]) == ["abcd", "abce"]
    assert nearest("abc", []) == []


def test_did_you_mean() -> None:
    assert did_you_mean("souurce", ["source"], "--") == "Did you mean --source?"
    assert did_you_mean("xyz", ["source"]) == ""


def test_join_names_says_how_many_are_left_out() -> None:
    assert join_names("abc") == "a, b, c"
    assert join_names("abcd", limit=2) == "a, b and 2 more"


def test_known_subclasses() -> None:
    class Middle(Curve):
        @abstractmethod
        def more(self) -> None: ...

    class _Private(Cosine):
        pass

    class Deep(_Private):
        pass

    found = known_subclasses(Curve)
    assert found == {"Cosine": Cosine, "Deep": Deep, "Linear": Linear}
    assert list(found) == sorted(found)
    assert known_subclasses(Shape) == {"Shape": Shape}


def test_base_without_abstract_methods_is_not_offered() -> None:
    class Base(ABC):  # noqa: B024
        pass

    class Child(Base):
        pass

    assert known_subclasses(Base) == {"Child": Child}
