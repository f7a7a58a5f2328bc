"""Many requests, one step at a time. Knows no text: token ids in, token ids out."""
