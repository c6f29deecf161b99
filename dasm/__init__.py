"""Dataset distillation via difficulty-aligned sequential matching: the library. It knows neither YAML, DVC nor Prefect."""

__version__ = "0.1.0"
