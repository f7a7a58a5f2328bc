"""Are the answers right? Our logits beside those of an f32 model in NumPy and of llama.cpp, on the same file.

`prompts.txt` is written for this check. The passages in `text` are in the public domain: H. G. Wells, "The Island of
Doctor Moreau" (1896); James Joyce, "A Painful Case" in "Dubliners" (1914); Virginia Woolf, "The Voyage Out" (1915).
"""
