"""Whether a share has risen: Fisher's exact test, whose rate of false alarms is at most the one that is asked for.

>>> round(chance_of_share(9, 10, 50, 100), 4)
0.015
>>> chance_of_share(0, 10, 50, 100)
1.0
"""

from __future__ import annotations

import math


def chance_of_share(found: int, drawn: int, found_before: int, drawn_before: int) -> float:
    """How likely at least ``found`` of ``drawn`` are, if both samples are of one share, whatever it is.

    Given how many were found in both together, each selection of ``drawn`` is equally likely (hypergeometric; Fisher,
    The Design of Experiments, 1935). So under a share that does not change the result is below ``p`` with a chance of
    at most ``p``, for any share and any sizes; normal approximations are above that for small shares.

    Args:
        found: Of this sample.
        drawn: Size of this sample.
        found_before: Of the sample that it is compared with.
        drawn_before: Size of that.

    Returns:
        A chance, above 0 to 1.

    Raises:
        ValueError: More were found than drawn, or a number is negative.
    """
    if not (0 <= found <= drawn and 0 <= found_before <= drawn_before):
        raise ValueError(f"{found} of {drawn}, {found_before} of {drawn_before}")
    total, all_found = drawn + drawn_before, found + found_before
    most = min(drawn, all_found)
    # Terms fall from the mean on, so that the sum is exact however small it is; below the mean the rest is summed.
    if found * total <= drawn * all_found:
        least = max(0, drawn - (total - all_found))
        return 1.0 - _sum_terms(range(found - 1, least - 1, -1), drawn, all_found, total) if found > least else 1.0
    return min(1.0, _sum_terms(range(found, most + 1), drawn, all_found, total))


def _sum_terms(counts: range, drawn: int, all_found: int, total: int) -> float:
    """Probabilities of these counts of a hypergeometric distribution, the likeliest first, until they no longer add."""
    whole = _log_choose(total, drawn)
    terms = []
    for count in counts:
        logarithm = _log_choose(all_found, count) + _log_choose(total - all_found, drawn - count) - whole
        terms.append(math.exp(logarithm))
        if terms[-1] < terms[0] * 1e-17:
            break
    return math.fsum(terms)


def _log_choose(number: int, chosen: int) -> float:
    return math.lgamma(number + 1) - math.lgamma(chosen + 1) - math.lgamma(number - chosen + 1)
