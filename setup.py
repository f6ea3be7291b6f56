"""What ``pyproject.toml`` cannot say: a wheel carries the configurations that a clone has beside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """``configs/`` and ``sweeps/`` inside the package (``gpt_lightning.parsing.shipped`` looks there)."""

    def run(self) -> None:
        """Everything else, then these."""
        super().run()
        for folder in () if self.editable_mode else ("configs", "sweeps"):
            for file in Path(folder).rglob("*.yaml"):
                place = Path(self.build_lib, "gpt_lightning", file)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)


setup(cmdclass={"build_py": BuildWithConfigs})
