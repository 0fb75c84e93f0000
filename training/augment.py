"""What a scanner and the service's own steps vary, applied to tensors while fitting."""

from __future__ import annotations

import torch
from torch import Tensor

_FAT_ERROR = 0.08  # of the orbital-fat reference, alike at all times: the same fat, measured the same way
_FAT_DRIFT = 0.03  # of a later one against the baseline's; in simulated patients 1.3 % (standard deviation)
_BIAS = 0.08  # spread of the logarithm of the smooth residual field
_NOISE = 0.015  # fat units


def augment(tensor: Tensor, target: Tensor, weight: Tensor, per_time: int) -> tuple[Tensor, Tensor, Tensor]:
    """Jittered copies; uses torch's own generator.

    The answer is in units of the baseline's fat reference, so an error of that reference scales
    all with the baseline; a later one's drift against it changes that one's channels alone.

    Parameters
    ----------
    tensor
        ``(N, T * per_time, ...)``, baseline channels first.
    per_time
        Channels per time point: 1 for volumes, 2 for slice pairs.
    """
    n, spatial = tensor.shape[0], tensor.ndim - 2
    ones = [1] * (spatial + 1)
    before, *later = torch.split(tensor, per_time, dim=1)
    gain = 1 + _FAT_ERROR * (2 * torch.rand(n, *ones) - 1)
    drift = 1 + _FAT_DRIFT * (2 * torch.rand(len(later), n, *ones) - 1)
    field = _field(before)
    jitter = [1 + 0.25 * (_field(before) - 1) for _ in later]
    target = target * gain * field
    scaled = [after * gain * d * field * j for after, d, j in zip(later, drift, jitter, strict=True)]
    tensor = torch.cat([before * gain * field, *scaled], dim=1)
    tensor = (tensor + _NOISE * torch.rand(n, *ones) * torch.randn_like(tensor)).clamp(0, 2)
    if spatial == 3 and torch.rand(()) < 0.5:  # left-right: only whole heads look alike mirrored
        tensor, target, weight = (v.flip(-1) for v in (tensor, target, weight))
    elif spatial == 2 and torch.rand(()) < 0.5:  # the axial slice alone
        tensor, target, weight = (_flip_axial(v) for v in (tensor, target, weight))
    return tensor, target, weight


def _flip_axial(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 1::2] = x[:, 1::2].flip(-1)
    return x


def _field(like: Tensor) -> Tensor:
    coarse = torch.randn(like.shape[0], like.shape[1], *[4] * (like.ndim - 2)) * _BIAS
    mode = "trilinear" if like.ndim == 5 else "bilinear"
    return torch.nn.functional.interpolate(coarse, size=like.shape[2:], mode=mode, align_corners=True).exp()
