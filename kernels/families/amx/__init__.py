"""GEMMs on AMX's tile registers, for the RHS layouts that AVX512-VNNI's GEMVs read: all but floats."""
