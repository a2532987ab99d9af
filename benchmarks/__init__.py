"""Benchmarks: speeds measured in the same run as those of named peers."""
