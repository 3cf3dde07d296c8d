"""Alarms: what is held against the false-alarm budget, from the checks that may alarm to what wakes somebody."""
