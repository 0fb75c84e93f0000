"""MODEL_CARD.md from a manifest: what the model is, its figures, and the commands that made them."""

from __future__ import annotations

from service.inference.manifest import ModelManifest
from training.settings import TrainingRecipe

_LABELS = {
    "model": "this model",
    "copy_delayed": "copy the delayed image",
    "copy_baseline": "copy the baseline",
    "linear_per_voxel": "per-voxel linear regression",
}
_COLUMNS = ("mse_all", "mae_all", "mse_head", "mae_head", "mse_csf", "mae_csf")


def model_card(manifest: ModelManifest, recipe: TrainingRecipe) -> str:
    """The card as Markdown."""
    facts, figures = manifest.training, manifest.metrics
    rows = figures["rows"]
    table = [
        "| | MSE, whole field | MAE, whole field | MSE, brain + CSF | MAE, brain + CSF | MSE, CSF | MAE, CSF |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, label in _LABELS.items():
        table.append(f"| {label} | " + " | ".join(f"{rows[key][c]:.5f}" for c in _COLUMNS) + " |")
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        *_banner(manifest.simulated_training),
        "",
        manifest.intended_use,
        "",
        "## What it is",
        "",
        f"- Network: {recipe.network.kind}, {recipe.network.base} features at the finest level, "
        f"{facts['parameters'] / 1e6:.2f} M parameters"
        + (", and the baseline is added to its answer" if recipe.network.adds_baseline else "")
        + (
            " (the founding paper has 64 features and 31 M parameters: this one is reduced)" if _reduced(recipe) else ""
        ),
        f"- Input: {', '.join(recipe.preprocessing.time_points)}; {manifest.input_shape}, "
        f"{recipe.preprocessing.spacing_mm:g} mm, {recipe.preprocessing.mode}, window {recipe.preprocessing.window}",
        f"- Output: {recipe.preprocessing.predicts}, {manifest.output_shape}, in units of orbital fat"
        + (f"; quantiles {recipe.preprocessing.quantiles}" if recipe.preprocessing.kind == "volume" else ""),
        f"- Fitted on {_patients(manifest)}, {facts['train_examples']} preparations, chosen on "
        f"{facts['validation_patients']}; loss {recipe.training.loss}; best epoch {facts['best_epoch']} of "
        f"{facts['epochs']}, {facts['minutes']:.0f} minutes on {facts['threads']} CPU threads",
        "",
        f"## Figures: {'SIMULATED, ' if manifest.simulated_training else ''}{figures['patients']} held-out patients",
        "",
        f"Errors of the late image in the model's scale (fat units); {figures['anatomy']}.",
        f"Left out because the service refuses them: {figures['refused']}."
        + (f" Judged on although it does: {kept}." if (kept := figures.get("kept_although_refused")) else ""),
        "",
        *table,
        "",
        *_verdict(rows),
        *_interval(manifest, figures.get("interval_coverage")),
        "",
        "## Limits",
        "",
        *_limits(manifest.simulated_training),
        "",
        "## Reproduce",
        "",
        "```",
        *facts["commands"],
        "```",
        "",
    ]
    return "\n".join(lines)


def _banner(simulated: bool) -> tuple[str, ...]:
    if not simulated:
        return ("**Research use, not for diagnosis.** Not clinically validated.",)
    return (
        "**Trained and tested on SIMULATED patients only. The figures below say how well a network inverts our",
        "simulator; they are not clinical evidence.** Research use, not for diagnosis.",
    )


def _patients(manifest: ModelManifest) -> str:
    facts = manifest.training
    if not manifest.simulated_training:
        return f"{facts['train_patients']} patients"
    return (
        f"{facts['train_patients']} simulated patients ({facts['train_patients_bent']} of them bend one real head, "
        "Colin27 from Debian's mricron-data; the others are procedural)"
    )


def _limits(simulated: bool) -> tuple[str, ...]:
    if not simulated:
        return (
            "- One cohort: other scanners, protocols and patients were not seen.",
            "- The errors include the noise of the late scan itself.",
        )
    return (
        "- How well the 1-2 h image foretells 24 h in the simulator follows from the parameters we drew there.",
        "- Not seen in training: real tracer, lesions, operated heads, metal, fat suppression, children.",
        "- The errors include the noise of the simulated 24 h scan itself.",
    )


def _interval(manifest: ModelManifest, coverage: float | None) -> list[str]:
    if coverage is None:
        return []
    said = f"The truth lies inside the model's own interval in {coverage:.0%} of brain and CSF voxels (nominal 90 %)."
    if manifest.calibration is None:
        return [said, "The interval is not calibrated."]
    moved = ", ".join(f"{offset:+.4f}" for offset in manifest.calibration.offsets[1:])
    return [said, f"The service moves its bounds by {moved} fat units: {manifest.calibration.text}."]


def _reduced(recipe: TrainingRecipe) -> bool:
    return recipe.network.kind == "unet2d" and recipe.network.base < 64


def _verdict(rows: dict[str, dict[str, float]]) -> list[str]:
    said = []
    for key in ("copy_delayed", "linear_per_voxel"):
        ratio = rows["model"]["mae_csf"] / max(rows[key]["mae_csf"], 1e-12)
        word = "beats" if ratio < 1 else "does NOT beat"
        said.append(f"In CSF (MAE) it {word} '{_LABELS[key]}': {ratio:.2f} of its error.")
    return said
