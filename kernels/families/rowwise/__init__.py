"""Families whose activations are quantised to int8 a whole row at a time, asymmetrically: KleidiAI's qai8dx."""
