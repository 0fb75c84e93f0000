"""The networks. Shapes are ``(N, C, H, W)`` and ``(N, C, D, H, W)``."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.settings import TrainingRecipe

_LEVELS = 4


def _double2d(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet2d(nn.Module):
    """U-Net of the founding paper: 3x3 convolution + BN + ReLU, 2x2 max-pool, skips (Ronneberger 2015).

    31.0 M parameters with 64 features. Sides of the input must be multiples of 16. With `adds_baseline`, which
    the paper has not, the first `outputs` input channels are added to the answer.
    """

    def __init__(self, inputs: int, outputs: int, base: int, *, adds_baseline: bool = False) -> None:
        super().__init__()
        self.adds_baseline = adds_baseline
        widths = [base * 2**n for n in range(_LEVELS + 1)]
        self.down = nn.ModuleList(_double2d(a, b) for a, b in zip([inputs, *widths[:-1]], widths, strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.up = nn.ModuleList(_double2d(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(base, outputs, 1)
        if adds_baseline:  # starts from 'no change'
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(cast("Tensor", self.head.bias))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H, W)``."""
        given = x
        skips: list[Tensor] = []
        for index, stage in enumerate(self.down):
            x = stage(x if index == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        for grow, stage, skip in zip(self.grow, self.up, reversed(skips[:-1]), strict=True):
            x = stage(torch.cat([skip, grow(x)], dim=1))
        answer: Tensor = self.head(x)
        return answer + given[:, : answer.shape[1]] if self.adds_baseline else answer


class _Residual3d(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(width, width, 3, padding=1, bias=False),
            _norm(width),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, width, 3, padding=1, bias=False),
            _norm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


class ResidualUNet3d(nn.Module):
    """Residual U-Net whose finest level works on blocks of 2x2x2 voxels, for speed on a CPU.

    The input's blocks become channels (space to depth), the answer's channels become blocks again, so no
    convolution runs at full resolution and no detail is lost. Output channel 0 is the median of the increase;
    1 and 2 are the lower and upper quantile, which cannot cross it. Sides must be multiples of 16.
    """

    def __init__(self, inputs: int, base: int) -> None:
        super().__init__()
        widths = [base, 2 * base, 4 * base, 4 * base]
        self.stem = nn.Sequential(nn.Conv3d(8 * inputs, base, 3, padding=1, bias=False), *_norm_relu(base))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv3d(a, b, 2, stride=2, bias=False), *_norm_relu(b), _Residual3d(b))
            for a, b in pairwise(widths)
        )
        self.merge = nn.ModuleList(
            nn.Conv3d(a + b, a, 1) for a, b in zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True)
        )
        self.up = nn.ModuleList(_Residual3d(w) for w in reversed(widths[:-1]))
        self.head = nn.Conv3d(base + 8 * inputs, 3 * 8, 1)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():  # starts from 'no increase' with a narrow range
            self.head.bias.copy_(torch.tensor([0.0, -2.0, -2.0]).repeat_interleave(8))  # type: ignore[union-attr] # has a bias

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, D, H, W)`` -> ``(N, 3, D, H, W)``."""
        blocks = space_to_depth(x)
        x = self.stem(blocks)
        skips = [x]
        for down in self.down:
            x = down(x)
            skips.append(x)
        for merge, up, skip in zip(self.merge, self.up, reversed(skips[:-1]), strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = up(merge(torch.cat([skip, x], dim=1)))
        x = depth_to_space(self.head(torch.cat([x, blocks], dim=1)))
        median = x[:, :1]
        lower = median - functional.softplus(x[:, 1:2])
        upper = median + functional.softplus(x[:, 2:3])
        return torch.cat([median, lower, upper], dim=1)


def _norm(width: int) -> nn.Module:
    # group, not batch: two volumes are too few for batch statistics, and another scanner's are its own
    return nn.GroupNorm(4, width)


def _norm_relu(width: int) -> tuple[nn.Module, nn.Module]:
    return _norm(width), nn.ReLU(inplace=True)


def space_to_depth(x: Tensor) -> Tensor:
    """``(N, C, D, H, W)`` -> ``(N, 8 C, D/2, H/2, W/2)``."""
    n, c, d, h, w = (int(v) for v in x.shape)
    x = x.reshape(n, c, d // 2, 2, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(n, 8 * c, d // 2, h // 2, w // 2)


def depth_to_space(x: Tensor) -> Tensor:
    """The inverse of `space_to_depth`."""
    n, c, d, h, w = (int(v) for v in x.shape)
    x = x.reshape(n, c // 8, 2, 2, 2, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(n, c // 8, 2 * d, 2 * h, 2 * w)


def build(recipe: TrainingRecipe) -> nn.Module:
    """The recipe's network, with fresh weights (seed the generator first)."""
    times = len(recipe.preprocessing.time_points)
    if recipe.network.kind == "unet2d":
        return UNet2d(2 * times, 2, recipe.network.base, adds_baseline=recipe.network.adds_baseline)
    return ResidualUNet3d(times, recipe.network.base)


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
