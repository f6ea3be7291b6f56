"""Found by Python at the start of a program whose PYTHONPATH says so; see ``tests.faults``."""

from tests.faults import install_from_environment

install_from_environment()
