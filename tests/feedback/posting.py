"""Posts feedback and tells what was acknowledged: python -m tests.feedback.posting STORE COUNT"""

from __future__ import annotations

import os
import sys

from gpt_lightning.feedback.records import Feedback
from gpt_lightning.feedback.store import FeedbackStore


def main(path: str, count: int) -> None:
    """The same keys at every start, as a client that does not know what has arrived."""
    with FeedbackStore(path) as store:
        for number in range(count):
            store.add_feedback(Feedback("a", "rating", 1 + number % 5, key=f"key{number:05d}", comment="x" * 500))
            os.write(1, f"key{number:05d}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
