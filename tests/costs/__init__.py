"""What watching, constraining and streaming cost, measured in turn with doing without. Knows no micro-kernel."""
