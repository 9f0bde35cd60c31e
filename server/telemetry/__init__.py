"""Metrics and logs: a leaf that every other room may use."""
