"""Whoever runs stages: through Prefect (`pipeline.flows`), from several root seeds, on a machine without DVC."""
