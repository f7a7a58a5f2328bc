"""The peer that speed is measured beside: llama.cpp, built from source for this very machine."""
