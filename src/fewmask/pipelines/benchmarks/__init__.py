"""The papers' benchmarks on their own data: one file per family, a registry, and what they share."""
