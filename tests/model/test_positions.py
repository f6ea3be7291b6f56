"""Rotary positions against complex numbers; positions counted inside documents."""

from __future__ import annotations

import cmath

import torch

from gpt_lightning.model.positions import build_rotation, count_positions, rotate


def test_rotation_is_a_product_of_complex_numbers() -> None:
    heads = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    turned = rotate(heads, build_rotation(7, 12, 8, 100.0, heads.device))
    for row in range(5):
        for pair in range(4):
            factor = cmath.exp(1j * (7 + row) * 100.0 ** (-2 * pair / 8))
            expected = torch.complex(heads[:, :, row, pair], heads[:, :, row, pair + 4]) * factor
            torch.testing.assert_close(turned[:, :, row, pair], expected.real, rtol=0, atol=1e-5)
            torch.testing.assert_close(turned[:, :, row, pair + 4], expected.imag, rtol=0, atol=1e-5)


def test_scores_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))

    def score(at: int, distance: int) -> torch.Tensor:
        device = query.device
        turned = rotate(query, build_rotation(at + distance, at + distance + 1, 16, 10000.0, device))
        return (turned * rotate(key, build_rotation(at, at + 1, 16, 10000.0, device))).sum()

    for distance in (0, 1, 5):
        torch.testing.assert_close(score(0, distance), score(300, distance), rtol=0, atol=1e-3)
    assert abs(score(0, 1) - score(0, 5)) > 0.1


def test_low_precision_is_turned_in_single_precision() -> None:
    heads = torch.randn(1, 1, 4, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    rotation = build_rotation(1000, 1004, 8, 10000.0, heads.device)
    torch.testing.assert_close(rotate(heads, rotation), rotate(heads.float(), rotation), rtol=0, atol=1e-6)


def test_positions_count_from_each_beginning() -> None:
    documents = torch.tensor([[4, 4, 4, 1, 1, 9], [0, 0, 0, 0, 0, 0], [5, 4, 3, 3, 1, 1]])
    expected = [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 0, 1]]
    assert count_positions(documents).tolist() == expected
