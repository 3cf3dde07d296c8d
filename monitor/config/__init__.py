"""The configuration: one YAML file, read once, checked whole, turned into plain settings.

What lives here: the one room that knows YAML and pydantic. What must not: anything the core imports; it takes
`monitor.settings`.
"""

from monitor.config.document import DocumentError, Fault
from monitor.config.load import json_schema, load_config
from monitor.config.show import show

__all__ = ["DocumentError", "Fault", "json_schema", "load_config", "show"]
