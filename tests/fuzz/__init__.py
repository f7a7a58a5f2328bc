"""Hostile model files by the thousand: each loads, or is refused by one line, within bounds of time and memory."""
