"""The configuration: one TOML file, every key overridable from the environment, all faults listed at once."""

from service.config.loading import load_config
from service.config.sections import Config, Destination, PairingWindow

__all__ = ["Config", "Destination", "PairingWindow", "load_config"]
