from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.strict_yaml import Setting, YAMLProblem, dump_yaml, load_yaml, read_document, read_yaml

LOL = "\n".join(
    ["a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol,lol]"]
    + [f"a{i}: &a{i} [{','.join(10 * [f'*a{i - 1}'])}]" for i in range(1, 10)]
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("3e-4", 3e-4),
        ("-2E5", -2e5),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("6.02e+23", 6.02e23),
        ("1_000.5", 1000.5),
        ("-.inf", -math.inf),
        ("0", 0),
        ("-12", -12),
        ("20_000_000", 20_000_000),
        ("0x1F", 31),
        ("0b101", 5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        # text, although YAML 1.1 makes False, True, 750, a date and 8 of them
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-31", "2024-01-31"),
        ("010", "010"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("1.2.3", "1.2.3"),
        ("'1e-3'", "1e-3"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    loaded = load_yaml(f"key: {text}")["key"]
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize("text", ["", "\n", "# nothing but a comment\n"])
def test_empty_text_is_an_empty_mapping(text: str) -> None:
    assert load_yaml(text) == {}
    assert load_yaml("null") is None


def test_merge_keys_and_aliases_within_reason() -> None:
    assert load_yaml("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: [*a, *a]") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": [{"x": 1, "y": 2}, {"x": 1, "y": 2}],
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' is given twice, in lines 1 and 3"),
        ("x: {a: 1, a: 1}", "line 1: key 'a' is given twice, in lines 1 and 1"),
        ("x:\n- b: 1\n  c: 2\n  b: 1", "line 4: key 'b' is given twice, in lines 2 and 4"),
        ("'a': 1\na: 2", "key 'a' is given twice"),
        ("a: &a [*a]", "an alias refers to the value it is part of"),
        ("a: !!python/object/apply:os.system [ls]", "tags that construct objects are refused"),
        ("a: !mine 3", "tags that construct objects are refused"),
        ("[" * 101 + "]" * 101, "line 1: nested more than 100 levels deep"),
        ("\n".join("  " * i + "k:" for i in range(102)), "line 101: nested more than 100 levels deep"),
        ("[" * 10_000, "nested more than 100 levels deep"),
        ("a: 1\n\tb: 2", "line 2: the line is indented by a tab"),
        ("a:\n \tb: 2", "line 2: the line is indented by a tab"),
        ("a: @b", "line 1: found character that cannot start any token"),
        ("a: [1", "line "),
        ("a: \x01", ""),
        ("? [a]\n: 1", "line 1: "),
        ("a: *b", "undefined alias"),
        ("x" * 1_000_001, "1,000,001 characters, more than 1,000,000"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(YAMLProblem) as caught:
        load_yaml(text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_alias_bomb_is_refused_at_once() -> None:
    start = time.process_time()
    with pytest.raises(YAMLProblem, match=r"line 5: stands for more than 100,000 values"):
        load_yaml(LOL)
    assert time.process_time() - start < 1


def test_aliases_may_not_nest_without_bound() -> None:
    chain = "a0: &a0 [1]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 400))
    with pytest.raises(YAMLProblem, match="aliases nest more than 100 levels deep"):
        load_yaml(chain)


def test_nesting_up_to_the_bound_is_read() -> None:
    value: Any = load_yaml("[" * 99 + "]" * 99)
    for _ in range(98):
        (value,) = value
    assert value == []


def test_settings_carry_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("# head\nlr: 1e-3\nmodel:\n  sizes: [1,\n    2]\n  opt: {beta: 0.9}\n")
    document = read_document(path)
    assert document.data == {"lr": 1e-3, "model": {"sizes": [1, 2], "opt": {"beta": 0.9}}}
    assert document.settings == [
        Setting("lr", "1e-3", 2),
        Setting("model", "", 3),
        Setting("model.sizes", "", 4),
        Setting("model.sizes", "1", 4),
        Setting("model.sizes", "2", 5),
        Setting("model.opt", "", 6),
        Setting("model.opt.beta", "0.9", 6),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: 1\na: 2\n", "run.yaml:2: key 'a' is given twice"),
        (b"a: \xff\n", "run.yaml is not UTF-8 text (byte 3)"),
        (b"#" * 1_000_001, "run.yaml is too large: got '1,000,001 bytes'"),
        (None, "run.yaml cannot be read: No such file or directory"),
    ],
)
def test_read_yaml_names_the_file(content: bytes | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert problem in str(caught.value)


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
    st.sampled_from(["1e-3", "no", "on", "010", "12:30", "~", "0x1F", "1_0", "2024-01-31", "<<", ".5", "=", "1e5"]),
)
_KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
_DATA = st.dictionaries(_KEYS, st.recursive(_SCALARS, lambda x: st.lists(x) | st.dictionaries(_KEYS, x), max_leaves=8))


@given(_DATA)
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back_by_us_and_by_pyyaml(data: dict[str, Any]) -> None:
    text = dump_yaml(data)
    assert load_yaml(text) == data
    # Other tools read our configs with YAML 1.1.
    assert yaml.safe_load(text) == data


def test_repeated_values_are_written_out() -> None:
    shared = [1, 2]
    assert "&" not in dump_yaml({"a": shared, "b": shared})
