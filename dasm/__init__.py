"""Dataset distillation via difficulty-aligned sequential matching: the library, without YAML, DVC or Prefect."""

__version__ = "0.1.0"
