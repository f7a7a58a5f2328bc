"""Runs programs: a flat list of native ops, walked by a team of threads in one native call per step."""
