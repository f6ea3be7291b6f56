"""What the server of forked trials imports: everything that a trial needs, read and parsed once."""

from __future__ import annotations

from gpt_lightning.tuning.child import warm_up

warm_up()
