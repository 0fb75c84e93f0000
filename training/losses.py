"""Losses, weighted per voxel; all reduce to a scalar."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def weighted_l1(answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error under `weight` (same shape)."""
    return torch.as_tensor((weight * (answer - target).abs()).sum() / weight.sum())


def weighted_l2(answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error under `weight` (same shape)."""
    return torch.as_tensor((weight * (answer - target) ** 2).sum() / weight.sum())


def pinball(answer: Tensor, target: Tensor, weight: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Sum over quantiles of the pinball loss (Koenker 1978).

    Parameters
    ----------
    answer
        ``(N, Q, ...)``, channel q estimates quantile ``quantiles[q]``.
    target, weight
        ``(N, 1, ...)``.
    """
    levels = torch.tensor(quantiles, dtype=answer.dtype).reshape(1, -1, *[1] * (answer.ndim - 2))
    gap = target - answer
    loss = torch.maximum(levels * gap, (levels - 1) * gap)
    return torch.as_tensor((weight * loss).sum() / weight.sum())
