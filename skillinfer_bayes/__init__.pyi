from .checks.calibration import calibration
from .checks.learning_curve import learning_curve
from .checks.sbc import sbc
from .checks.validation import held_out, held_out_cells, summarise_held_out
from .exceptions import SkillinferError, SkillinferWarning
from .history.links import Scale
from .history.table import History
from .inference.priors import Priors, SamplerSettings
from .population import Population
from .profiles.profile import Profile
from .profiles.profiles import Profiles
from .profiles.task import MatchResult, Skill, Task
from .routing.compare import Comparison, compare
from .routing.constraints import Eligibility, apply_constraints, parse_constraint
from .routing.next_evaluation import EvaluationPlan, next_evaluations
from .routing.orchestrator import Decision, orchestrate, orchestrate_async, parse_decision
from .routing.prompt import build_prompt
from .routing.ranking import rank_agents
from .routing.tokens import estimate_tokens
from .routing.utility import Utility

__version__: str

__all__ = [
    "Comparison",
    "Decision",
    "Eligibility",
    "EvaluationPlan",
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
    "Utility",
    "apply_constraints",
    "build_prompt",
    "calibration",
    "compare",
    "estimate_tokens",
    "held_out",
    "held_out_cells",
    "learning_curve",
    "next_evaluations",
    "orchestrate",
    "orchestrate_async",
    "parse_constraint",
    "parse_decision",
    "rank_agents",
    "sbc",
    "summarise_held_out",
]
