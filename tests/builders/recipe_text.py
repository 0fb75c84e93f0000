"""A recipe of a network so small that it is fitted in seconds."""

from __future__ import annotations

BASELINE_AND_DELAYED = '["baseline", "delayed"]'


def recipe_text(
    *,
    visits: str = "",
    points: str = BASELINE_AND_DELAYED,
    side: int = 32,
    spacing_mm: float = 6.0,
    variants: int = 2,
) -> str:
    """TOML; `visits` is the text of that section, `points` a TOML list."""
    section = f"[visits]\n{visits}\n" if visits else ""
    return f"""
name = "mine"
intended_use = "test"
{section}[preprocessing]
kind = "volume"
mode = "fat_global"
time_points = {points}
shape = [{side}, {side}, {side}]
spacing_mm = {spacing_mm}
window = [0.0, 2.0]
predicts = "increase"
quantiles = [0.5, 0.05, 0.95]
[network]
kind = "residual3d"
base = 4
[training]
seed = 1
epochs = 1
batch = 1
learning_rate = 1e-3
loss = "pinball"
precision = "float32"
variants = {variants}
inside_weight = 1.0
outside_weight = 0.3
patience = 1
"""
