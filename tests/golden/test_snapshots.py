"""Stores, exports, help, configurations, logged names and files of a run are what they were."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.golden.snapshots import RECORDS, SNAPSHOTS, read_snapshot

_OF_THIS_PYTHON = ("help", "configurations")
"""argparse words its pages anew with every Python."""


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_what_users_see_and_keep_is_as_recorded(tmp_path: Path, name: str) -> None:
    recorded = json.loads(RECORDS.read_text(encoding="utf-8"))
    if name in _OF_THIS_PYTHON and recorded["python"] != list(sys.version_info[:2]):
        pytest.skip(f"recorded with Python {recorded['python']}")
    assert read_snapshot(name, tmp_path) == recorded[name], (
        "meant to change? python -m tests.golden.snapshots, and say so in the commit"
    )
