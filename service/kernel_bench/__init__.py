"""`gemmule kernels bench`: micro-kernels of this CPU beside what its pipes and its memory could do at most."""
