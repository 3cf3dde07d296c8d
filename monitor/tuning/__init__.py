"""Tuning of checks on a model's own past: what its alarms would have done, and what they would find."""
