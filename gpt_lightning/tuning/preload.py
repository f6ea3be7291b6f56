"""What the server of forked trials imports: everything that a trial needs, read and parsed once."""

from __future__ import annotations

import gc

from gpt_lightning.tuning.child import warm_up

warm_up()
# What is here lives as long as the server: collections in a trial need not go through it, and the pages stay shared.
gc.collect()
gc.freeze()
