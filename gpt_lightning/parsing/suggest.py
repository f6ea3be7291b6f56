"""What the user probably meant: near names, and the classes that a setting would accept."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import lru_cache

_ALIKE = 0.65
"""Share of matching letters from which a name counts as a slip of the keyboard; max_step/max_steps have 0.95."""


def nearest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Candidates that look like ``name``, best first.

    For dotted names the last part counts as well, so that ``max_steps`` finds ``trainer.max_steps``; dashes count as
    underscores and letter case does not count.

    Args:
        name: What was typed.
        candidates: What there is.
        limit: Most names to return.

    Returns:
        At most ``limit`` names; empty when nothing is alike.
    """
    ranked = sorted(((_likeness(name, candidate), candidate) for candidate in set(candidates)), key=_best_first)
    if not ranked:
        return []
    # After an almost certain match the merely similar ones would only distract.
    bar = max(_ALIKE, ranked[0][0] - 0.07)
    return [candidate for likeness, candidate in ranked if likeness >= bar][:limit]


def did_you_mean(name: str, candidates: Iterable[str], prefix: str = "") -> str:
    """``Did you mean X or Y?`` with ``prefix`` before each name, or an empty string."""
    names = [prefix + candidate for candidate in nearest(name, candidates)]
    return f"Did you mean {' or '.join(names)}?" if names else ""


def known_subclasses(base: type) -> dict[str, type]:
    """Classes that can be built where ``base`` is asked for: name -> class, sorted by name.

    Abstract and private classes are left out. Only imported modules are seen; the commands import their rooms before
    they parse, so that means everything of ours and whatever the user's trusted modules define.
    """
    found: dict[str, type] = {}
    waiting: list[type] = [base]
    seen = {base}
    while waiting:
        candidate = waiting.pop()
        if not (inspect.isabstract(candidate) or candidate.__name__.startswith("_") or _is_bare_base(candidate)):
            found.setdefault(candidate.__name__, candidate)
        # Through `type`, because a metaclass has a __subclasses__ of its own that takes an argument.
        children: set[type] = set(type.__subclasses__(candidate)) - seen
        seen |= children
        waiting.extend(sorted(children, key=lambda child: child.__module__))
    return dict(sorted(found.items()))


def join_names(names: Iterable[str], limit: int = 12) -> str:
    """``a, b, c`` and, beyond ``limit`` names, how many more there are."""
    listed = list(names)
    tail = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + tail


def _is_bare_base(candidate: type) -> bool:
    # `class Base(ABC)` without abstract methods is not abstract to `inspect`, yet nobody means it.
    return any(parent.__module__ == "abc" and parent.__name__ == "ABC" for parent in candidate.__bases__)


def _best_first(pair: tuple[float, str]) -> tuple[float, str]:
    return -pair[0], pair[1]


@lru_cache(maxsize=4096)  # every start compares the same variables of the environment with the same settings
def _likeness(name: str, candidate: str) -> float:
    ours, theirs = _plain(name), _plain(candidate)
    while "." in ours and "." in theirs and ours.partition(".")[0] == theirs.partition(".")[0]:
        # A part in common would make anything below it look alike.
        ours, theirs = ours.partition(".")[2], theirs.partition(".")[2]
    whole = _ratio(ours, theirs)
    last = _ratio(ours.rpartition(".")[2], theirs.rpartition(".")[2])
    # The last part alone may carry a match only when it is nearly exact: short endings are alike by chance.
    return max(whole, 0.9 * last if last > 0.85 else 0.0)


def _ratio(ours: str, theirs: str) -> float:
    """Share of matching letters; 0 below what counts, which two quick bounds tell of nearly all."""
    matcher = SequenceMatcher(None, ours, theirs)
    return matcher.ratio() if min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= _ALIKE else 0.0


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
