"""Fine-tuning: from a pretrained backbone and labelled images to a bundle that can be served and monitored.

What lives here: data, models, training, export, the bundle. It runs as a process of its own (`python -m finetune`);
`monitor` never imports it. Importing the package is free: torch comes with the modules that need it.
"""
