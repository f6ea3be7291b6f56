from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gpt_lightning import cli
from gpt_lightning.commands import COMMANDS, Command
from gpt_lightning.errors import CheckpointError, DataError, StopRequested, UserError
from gpt_lightning.reports.numbers import sparkline
from gpt_lightning.training.profiling.line_chart import Curve, draw_text

calls: list[tuple[str, list[str]]] = []


def record(command: str, args: list[str]) -> None:
    calls.append((command, args))


def fail(text: str, kind: str = "DataError") -> None:
    """Fail in a given way.

    Args:
        text: What to say.
        kind: How to fail.
    """
    failures: dict[str, BaseException] = {
        "DataError": DataError(text, fix="Mend it.\nReally."),
        "CheckpointError": CheckpointError(text),
        "StopRequested": StopRequested("SIGTERM", 7),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "RuntimeError": RuntimeError(text),
    }
    raise failures[kind]


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    calls.clear()
    monkeypatch.setitem(COMMANDS, "fit", Command("tests.test_cli", "record", "h", "g", typed=False))
    monkeypatch.setitem(COMMANDS, "fail", Command("tests.test_cli", "fail", "h", "g"))


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("args", [["--help"], [], ["--version"], ["preparr"]])
def test_front_end_imports_nothing_heavy(args: list[str]) -> None:
    heavy = {"torch", "lightning", "jsonargparse", "numpy", "yaml"}
    code = f"import sys; from gpt_lightning.cli import main; main({args}); print(*({heavy} & set(sys.modules)))"
    done = run_python(code)
    assert done.stdout.splitlines()[-1] == ""
    assert done.returncode == 0


def test_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "gpt_lightning", "fti"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: There is no command 'fti'")
    assert "Did you mean gpt-lightning fit?" in done.stderr


@pytest.mark.parametrize("chosen", ["", "0"])
def test_large_pages_unless_somebody_chose(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Set and taken away, so that it is taken away again afterwards.
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", chosen)
    if not chosen:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    monkeypatch.setattr(sys, "argv", ["gpt-lightning", "--help"])
    with pytest.raises(SystemExit):
        cli.console()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == (chosen or "1")


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "gpt-lightning fit --config configs/quickstart.yaml" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("noun", sorted({name.split()[0] for name in COMMANDS if " " in name} - COMMANDS.keys()))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_group_has_help(noun: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([noun, option]) == 0
    text = capsys.readouterr().out
    members = [name for name in COMMANDS if name.startswith(f"{noun} ")]
    assert all(f"  {name} " in text for name in members)
    assert text.count("\n") == len(members) + 4
    assert cli.main([noun, "--nothelp"]) == 2


@pytest.mark.parametrize(
    "args",
    [
        ["-c", "a.yaml", "fit", "--lr", "1"],
        ["fit", "-c", "a.yaml", "--lr", "1"],
        ["--traceback", "fit", "-c", "a.yaml", "--lr", "1"],
        ["fit", "-c", "a.yaml", "--lr", "1", "--traceback"],
    ],
)
def test_config_before_the_command_is_moved_behind_it(args: list[str]) -> None:
    assert cli.main(args) == 0
    assert calls == [("fit", ["-c", "a.yaml", "--lr", "1"])]


def test_a_command_may_have_two_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "noun verb", Command("tests.test_cli", "record", "h", "g", typed=False))
    assert cli.main(["-c", "a.yaml", "noun", "verb", "x", "--lr", "1"]) == 0
    assert calls == [("noun verb", ["-c", "a.yaml", "x", "--lr", "1"])]


def test_several_configs_keep_their_order() -> None:
    assert cli.main(["--config=a.yaml", "-c", "b.yaml", "fit", "--config", "c.yaml"]) == 0
    assert calls == [("fit", ["--config=a.yaml", "-c", "b.yaml", "--config", "c.yaml"])]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-c", "a.yaml"], "-c needs a command. Write gpt-lightning fit -c a.yaml"),
        (["--lr", "1", "fit"], "--lr comes before the command. Write gpt-lightning COMMAND --lr ..."),
        (["generatte"], "Did you mean gpt-lightning generate?"),
        (["xyzzy"], "See gpt-lightning --help."),
        (["data"], "data needs a second word. Write gpt-lightning data info, gpt-lightning data verify"),
        (["data", "inof", "x"], "no command 'data inof'"),
        (["data", "inof", "x"], "Did you mean gpt-lightning data info?"),
        (["data", "info", "--stroe", "x"], "There is no setting --stroe"),
        (["version", "--al"], "There is no setting --al (command line)"),
    ],
)
def test_usage_errors(args: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("DataError", 3, "error: no text. Mend it. Really.\n"),
        ("CheckpointError", 3, "error: no text.\n"),
        ("StopRequested", 143, "stopped by SIGTERM after saving step 7\n"),
        ("KeyboardInterrupt", 130, "interrupted\n"),
    ],
)
def test_exit_codes(kind: str, code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fail", "no text", "--kind", kind]) == code
    assert capsys.readouterr().err == told


def test_traceback_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fail", "no text", "--traceback"]) == DataError.exit_code
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert error.endswith("error: no text. Mend it. Really.\n")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="no text"):
        cli.main(["fail", "no text", "--kind", "RuntimeError"])


def test_reader_that_went_away_is_no_error() -> None:
    code = (
        "import sys, gpt_lightning.cli as c, gpt_lightning.commands as t, types\n"
        "m = types.ModuleType('talk'); sys.modules['talk'] = m\n"
        "m.talk = lambda command, args: [print('x' * 1000) for _ in range(30_000)]\n"
        "t.COMMANDS['talk'] = t.Command('talk', 'talk', 'h', 'g', typed=False)\n"
        "sys.exit(c.main(['talk']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    before = set(sys.modules)
    assert cli.main(["version"]) == 0
    assert not {"torch", "lightning"} & (set(sys.modules) - before)
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["gpt_lightning", "python", "torch", "lightning", "platform"]


def test_every_user_error_has_an_exit_code_of_its_own_kind() -> None:
    assert {kind.exit_code for kind in UserError.__subclasses__()} == {2, 3, 4}


def print_snowman() -> None:
    """Print what not every terminal has."""
    sys.stdout.write("\N{SNOWMAN}\n")
    sys.stdout.flush()


_CONSOLE = (
    "import sys; from gpt_lightning import cli; from gpt_lightning.commands import COMMANDS, Command; "
    "COMMANDS['snow'] = Command('tests.test_cli', 'print_snowman', 'h', 'g'); sys.argv = ['x', 'snow']; "
    "cli.console()"
)


@pytest.mark.parametrize(
    ("redirect", "code", "told"),
    [
        ("", 0, "\\u2603\n"),
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("> /dev/full", 3, "error: standard output cannot be written: No space left on device."),
    ],
)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
def test_an_output_that_takes_nothing_is_no_traceback(redirect: str, code: int, told: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": os.getcwd()}
    line = f'{sys.executable} -c "$CODE" {redirect}'
    done = subprocess.run(
        ["sh", "-c", line], env={**environment, "CODE": _CONSOLE}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_drawings_are_seen_on_a_terminal_that_knows_ascii_alone() -> None:
    curves = [Curve("a", [(0.0, 0.0), (9.0, 1.0)]), Curve("b", [(0.0, 0.5), (9.0, 0.5)])]
    for drawing in (draw_text(curves[:1]), draw_text(curves, colours=True), sparkline([1.0, 2.0, 8.0])):
        shown = drawing.encode("ascii", "gpt_lightning.nearest").decode("ascii")
        assert "\\" not in shown
        assert list(map(len, shown.splitlines())) == list(map(len, drawing.splitlines()))
    assert "⡠⠊┤é".encode("latin-1", "gpt_lightning.nearest") == b"**|\xe9"
    assert "é\N{SNOWMAN}".encode("ascii", "gpt_lightning.nearest") == b"\\xe9\\u2603"


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_a_config_from_a_pipe_is_kept(form: str, tmp_path: Path) -> None:
    """It is read by several, each from its start."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a: 1\n",))
    writer.start()
    assert cli.main(["fit", *form.format(pipe).split(" "), "--x", "1"]) == 0
    writer.join()
    ((_, args),) = calls
    kept = Path(args[-3].rpartition("=")[2])
    assert args[-2:] == ["--x", "1"]
    assert kept.name == "pipe.yaml"
    assert [kept.read_text(encoding="utf-8") for _ in range(2)] == ["a: 1\n", "a: 1\n"]
