"""What depends on what: the blueprint of every stage, dvc.yaml written out, DVC's own view of it."""
