"""Prompt lookup: guesses at the next tokens, copied from where the text has been before (Saxena 2023).

Text repeats itself: names, code, quotations, an answer that takes up the question. Where the last few tokens occurred
earlier, what followed them there may follow again. The engine reads its guesses in one pass and keeps those that it
would have written anyway, so that they change the time a text takes and never the text.
"""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 3
"""Tokens that must agree at most; longer agreement is better evidence, so it is looked for first."""


def propose(context: Sequence[int], most: int) -> list[int]:
    """Up to ``most`` tokens that may follow ``context``; none where its end is new.

    Looks for the last earlier place at which the last 3, else 2 tokens occurred. One token is not looked for: it
    is weak evidence, and a wrong guess costs a row of the pass.
    """
    for size in range(_LONGEST, 1, -1):
        end = list(context[-size:])
        for start in range(len(context) - size - 1, -1, -1):
            if context[start] == end[0] and list(context[start : start + size]) == end:
                following = list(context[start + size : start + size + most])
                # The text may be running in circles: then what follows goes on with itself.
                period = len(context) - size - start
                while len(following) < most:
                    following.append(following[-period])
                return following
    return []
