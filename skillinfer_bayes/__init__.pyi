from .exceptions import SkillinferError, SkillinferWarning
from .history.links import Scale
from .history.table import History
from .inference.priors import Priors, SamplerSettings
from .population import Population
from .profiles.profile import Profile
from .profiles.profiles import Profiles
from .profiles.task import MatchResult, Skill, Task
from .routing.orchestrator import Decision, orchestrate, parse_decision
from .routing.prompt import build_prompt
from .routing.ranking import rank_agents

__version__: str

__all__ = [
    "Decision",
    "History",
    "MatchResult",
    "Population",
    "Priors",
    "Profile",
    "Profiles",
    "SamplerSettings",
    "Scale",
    "Skill",
    "SkillinferError",
    "SkillinferWarning",
    "Task",
    "build_prompt",
    "orchestrate",
    "parse_decision",
    "rank_agents",
]
