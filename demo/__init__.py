"""The whole loop on real images in real processes: fine-tune, serve, monitor, drift, late labels, recovery.

What lives here: the demo that `trueup demo` runs, and its own computation of every number it shows. What must not: code
that the product needs; nothing imports the demo but its tests.
"""
