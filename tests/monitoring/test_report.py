"""``runs report``: everything known of a run, in one file that fetches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.monitoring import portrait
from gpt_lightning.monitoring.records import RunRecord
from gpt_lightning.monitoring.reporting import build_report
from tests.monitoring.folders import write_run
from tests.reports.documents import Document
from tests.training.forked import write_corpus
from tests.training.runs import tiny_run

_EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_report_of_a_real_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path)
    chosen = {"model.optimizer": "Muon", "model.schedule": "WSD"}
    tiny_run({**chosen, "run.dir": "runs/real", "run.expected_val_loss": 5.5}).fit()
    assert main(["runs", "report", "real"]) == 0
    assert capsys.readouterr().out.splitlines() == ["runs/real/report.html", "runs/real/report.md"]
    document = Document(Path("runs/real/report.html").read_text())
    assert document.references() == []
    text = " ".join(document.texts)
    for part in ("train/loss", "val/loss", "Samples", "Configuration", "Data", "Starts and environment", "Checkpoints"):
        assert part in text
    assert "expected 5.5" in {
        note["text"] for figure in document.figures() for note in figure["layout"].get("annotations", [])
    }
    assert "step-000000006" in text
    assert "lightning 2." in text
    assert "train       " in text, "the data card"
    rows = Path("runs/real/report.md").read_text()
    assert "| model.config.n\\_layer | 12 | 2 |" in rows, "what differs from the defaults"
    for kind, default, here in (("optimizer", "AdamW", "Muon"), ("schedule", "Cosine", "WSD")):
        (row,) = [line for line in rows.splitlines() if f"model.{kind}.class" in line]
        assert default in row
        assert here in row
    assert "model.config.norm" not in rows.partition("The whole configuration")[0]


def test_report_shows_what_is_there_and_escapes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portrait, "default_settings", lambda config: {"seed_everything": 1})
    home = write_run(Path("runs/parent"))
    facts = {"resumed_from": str(home / "checkpoints/step-000000050"), "data": _EVIL}
    run = write_run(Path(f"runs/{_EVIL.replace('/', '')}"), settings={"model.optimizer.init_args.lr": 0.5}, facts=facts)
    (run / "samples.jsonl").write_text(json.dumps({"step": 6, "prompt": _EVIL, "text": _EVIL}) + "\n{cut")
    (run / "alerts.jsonl").write_text(json.dumps({"step": 5, "rule": "loss_spike", "text": _EVIL}) + "\n")
    page = build_report([RunRecord(run)])
    document = Document(page.html())
    assert not any("alert" in script for script in document.scripts(None))
    assert not any("<" in json.dumps(figure) for figure in document.figures())
    text = " ".join(document.texts)
    assert text.count("alert(1)") >= 5
    assert "loss_spike" in text
    assert "Against the run it branched off from" in text
    assert "| model.optimizer.init\\_args.lr | 0.001 | 0.5 |" in page.markdown()


def test_report_of_several_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(portrait, "default_settings", lambda config: {})
    write_run(Path("runs/a"))
    write_run(Path("runs/b"), settings={"data.block_size": 32}, tokens_per_step=2000)
    assert main(["runs", "report", "a", "b", "--output", "out/both.html"]) == 0
    text = " ".join(Document(Path("out/both.html").read_text()).texts)
    assert "data.block_size" in text
    assert "val/loss over tokens" in text
    assert "This may be chance" in text
    assert "| a | finished |" in Path("out/both.md").read_text()
    assert main(["runs", "report", "a", "--output", "x.pdf"]) == 2
    capsys.readouterr()


def test_a_run_that_has_logged_nothing_has_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portrait, "default_settings", lambda config: {})
    folder = write_run(Path("runs/a"), ends=(None,))
    (folder / "metrics.jsonl").unlink()
    (folder / "config.yaml").write_text("{}")
    assert "Nothing was logged yet." in build_report([RunRecord(folder)]).html()
