"""The notebooks: their sources are text, and ``python -m tests.docs.notebooks`` writes the executed ones."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT

SOURCES = sorted((ROOT / "notebooks").glob("*.py"))


def execute(source: Path, place: Path, seconds: int = 600) -> Any:
    """A notebook with the outputs of a run in the folder ``place``, without what differs from run to run by nature."""
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "GPT_LIGHTNING_CACHE": str(place / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    client = NotebookClient(notebook, timeout=seconds, resources={"metadata": {"path": str(place)}})
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = output["text"].replace(str(place), ".")
    _join_streams(notebook)
    return notebook


def _join_streams(notebook: Any) -> None:
    """What a cell writes to one stream is one output, however it arrived."""
    for cell in notebook.cells:
        joined: list[Any] = []
        for output in cell.get("outputs", []):
            if joined and output.get("name") and output.get("name") == joined[-1].get("name"):
                joined[-1]["text"] += output["text"]
            else:
                joined.append(output)
        if "outputs" in cell:
            cell["outputs"] = joined


def kinds(notebook: Any) -> list[list[str]]:
    """What each cell of code gives: streams by name, pictures by type; numbers and times left out."""
    return [
        sorted({str(each.get("name") or sorted(each.get("data", {"error": 0}))) for each in cell.get("outputs", [])})
        for cell in notebook.cells
        if cell["cell_type"] == "code"
    ]


def texts(notebook: Any) -> str:
    """Everything that a notebook says in text."""
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


def main() -> None:
    """Execute all, and write them beside their sources."""
    import jupytext

    for source in [each for each in SOURCES if re.search(sys.argv[1] if sys.argv[1:] else "", each.stem)]:
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(source, Path(folder))
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"
        jupytext.write(notebook, source.with_suffix(".ipynb"))
        print(source.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
