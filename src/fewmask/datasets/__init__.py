"""Formats in and out, splits and episodes, the sparse-frame rule, copy-paste synthesis."""
