"""What is unusual about how a study judges its sets, in words for whoever reads its numbers."""

from collections.abc import Mapping
from typing import Any

from pipeline import params


def terms(study: Mapping[str, Any]) -> str:
    """Return a sentence for every option that most studies leave as it is; nothing where this one does too."""
    protocol = params.value(study, "benchmark.protocol")
    teacher = params.value(study, "benchmark.networks")[0]["name"]
    labels = {
        "hard": "All sets are judged with hard labels, whatever they store.",
        "teacher": f"All sets, and all real data, are labelled by one {teacher} that learnt all real images.",
    }
    order = {"stagewise": "Networks learn the first segment, then the first two, and so on."}
    found = (labels.get(protocol.get("labels", "own")), order.get(protocol.get("order", "shuffled")))
    return " ".join(filter(None, found))
