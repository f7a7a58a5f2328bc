"""The roofs of this machine: what its memory delivers and its units compute, measured by the team. Knows no model."""
