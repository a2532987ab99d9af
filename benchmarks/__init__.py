"""Speeds, measured side by side with named peers."""
