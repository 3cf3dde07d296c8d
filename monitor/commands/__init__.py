"""The commands of `trueup`, a module for each group, loaded when one of them is called.

What lives here: options, progress, tables and exit codes. What must not: decisions, formulas, storage.
"""
