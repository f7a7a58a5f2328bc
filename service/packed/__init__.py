"""Packed weights on disk: a file each, checked as a whole before it is used. Knows no model and no layout."""
