"""Networks that are plain chains of layers, with their derivatives written out: what makes matching fast."""
