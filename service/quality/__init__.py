"""How well a model predicts a text, and how near its distributions are to those of another."""
