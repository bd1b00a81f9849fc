"""What AI agents can do, from two or three scores, and how sure to be.

A history of agents by skills is fitted once (`Population.from_dataframe`); a new agent's few
scores then give its whole profile (`Population.profile`), which `build_prompt` puts before an
orchestrating model together with cost, latency and constraints.
"""

import lazy_loader

# the public names are listed in __init__.pyi; each loads its module when first used
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
