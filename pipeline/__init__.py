"""Orchestration: what runs when. DVC stages, the Prefect flow around them, and the report. No science."""
