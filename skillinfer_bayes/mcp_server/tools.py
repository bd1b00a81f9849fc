"""The tools: what a language model reads about them, their arguments, and how they fail.

The only module that imports the SDK. A failure of the package becomes a tool error that the model
can read; warnings of the package come with the result, as `notes`.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Concatenate, Literal, cast

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import ConfigDict, Field

from skillinfer_bayes import __version__
from skillinfer_bayes.exceptions import SkillinferError, SkillinferWarning
from skillinfer_bayes.mcp_server import routing
from skillinfer_bayes.mcp_server.arguments import (
    ADDS,
    CHANGES,
    READS,
    Limits,
    Metadata,
    Names,
    Probability,
    Threshold,
    Weights,
)
from skillinfer_bayes.mcp_server.folder import Folder
from skillinfer_bayes.mcp_server.results import (
    ComparisonInfo,
    Done,
    EvaluationPlan,
    MatchInfo,
    PopulationInfo,
    PopulationList,
    Predictions,
    ProfileInfo,
    ProfileList,
    PromptText,
    Ranking,
    SavedFile,
    SkillList,
)
from skillinfer_bayes.mcp_server.session import Session

INSTRUCTIONS = """\
Skill profiles of AI agents from a few measured scores, with honest uncertainty.
1. load_population: a population is a file that was fitted beforehand (see list_populations).
2. create_profile for each agent, with the scores that are known; observe adds more.
3. predict, match_task, rank_agents, compare_agents: how good an agent is, and how sure that is.
4. next_evaluations: which score to measure next. routing_prompt: the text to decide by.
Scores are in the units of the population's history (often 0-1). All paths are relative to one
folder."""


def make_server(folder: str | Path) -> MCPServer[Any]:
    """Make a server that keeps a session of its own; see `skillinfer_bayes.mcp_server`."""
    tools = Tools(Session(Folder(folder)))
    return MCPServer(
        "skillinfer_bayes",
        title="Skill profiles of AI agents",
        instructions=INSTRUCTIONS,
        version=__version__,
        tools=[_strict_tool(getattr(tools, name), how) for name, how in TOOLS.items()],
        log_level="WARNING",
    )


def _call[**P, R](
    method: Callable[Concatenate[Tools, P], R],
) -> Callable[Concatenate[Tools, P], R]:
    """Let one call run at a time, turn the package's errors into tool errors, note its warnings."""

    @functools.wraps(method)
    def call(self: Tools, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SkillinferWarning)
            try:
                result = method(self, *args, **kwargs)
            except (SkillinferError, OSError) as error:
                raise ToolError(self.session.folder.hide(str(error))) from error
            except OverflowError as error:  # JSON has whole numbers of any length
                raise ToolError(
                    f"numbers must be below 1e308, got one beyond it ({error}); correct it"
                ) from error
        for one in caught:
            if issubclass(one.category, SkillinferWarning):
                notes = cast("dict[str, Any]", result)["notes"]
                if str(one.message) not in notes:
                    notes.append(str(one.message))
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return result

    return call


def _strict_tool(method: Callable[..., Any], annotations: ToolAnnotations) -> Tool:
    """Make a tool that refuses arguments that it does not know, and numbers given as text."""
    tool = Tool.from_function(method, annotations=annotations, structured_output=True)
    arguments = tool.fn_metadata.arg_model
    arguments.model_config = ConfigDict(**arguments.model_config, extra="forbid", strict=True)
    arguments.model_rebuild(force=True)
    tool.parameters = arguments.model_json_schema(by_alias=True)
    return tool


class Tools:
    """The tools of one server; each method is one, and its docstring is what the model reads.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lock = threading.Lock()

    @_call
    def load_population(
        self,
        path: Annotated[str, Field(description="File that ends in .nc.")],
        name: Annotated[
            str | None, Field(description="Name to use from now on; by default the file's.")
        ] = None,
    ) -> PopulationInfo:
        """Load a fitted population from a file in the folder. Look at `converged`, `problems`."""
        return self.session.load_population(path, name)

    @_call
    def list_populations(self) -> PopulationList:
        """List the loaded populations, and the files that could be loaded."""
        return self.session.list_populations()

    @_call
    def population_summary(self, population: str) -> PopulationInfo:
        """Describe a loaded population: its size and how far its fit can be trusted."""
        return self.session.population_summary(population)

    @_call
    def list_skills(
        self,
        population: str,
        search: Annotated[
            str, Field(description="Only skills whose name or description has this in it.")
        ] = "",
    ) -> SkillList:
        """List a population's skills with their descriptions and lowest and highest scores."""
        return self.session.list_skills(population, search)

    @_call
    def create_profile(
        self,
        name: Annotated[str, Field(description="The agent's name; must be new.")],
        population: str,
        observations: Annotated[
            dict[str, float] | None, Field(description="Measured score by skill, where known.")
        ] = None,
        group: Annotated[
            str | None, Field(description="Family or provider, if the population has groups.")
        ] = None,
        covariates: Annotated[
            dict[str, float] | None,
            Field(description="All of the population's covariates, if it has some."),
        ] = None,
    ) -> ProfileInfo:
        """Start the profile of a new agent, with the scores that are known so far."""
        return self.session.create_profile(name, population, observations or {}, group, covariates)

    @_call
    def observe(
        self,
        profile: str,
        skill: str,
        score: Annotated[float, Field(description="Measured score, in the history's units.")],
        n_items: Annotated[
            float | None, Field(description="How many test items are behind the score.")
        ] = None,
        stderr: Annotated[
            float | None, Field(description="Its standard error; give this or n_items.")
        ] = None,
    ) -> ProfileInfo:
        """Add one measured score to a profile; the same skill measured again is pooled."""
        return self.session.observe(profile, skill, score, n_items, stderr)

    @_call
    def observe_many(
        self,
        profile: str,
        observations: Annotated[dict[str, float], Field(description="Measured score by skill.")],
    ) -> ProfileInfo:
        """Add several measured scores to a profile: all of them or, if one is not usable, none."""
        return self.session.observe_many(profile, observations)

    @_call
    def predict(
        self,
        profile: str,
        skills: Annotated[list[str] | None, Field(description="By default all skills.")] = None,
        ci_prob: Probability = 0.9,
        kind: Annotated[
            Literal["skill", "score"],
            Field(description="The skill itself, or a score that would be measured."),
        ] = "skill",
    ) -> Predictions:
        """Predict an agent's skills: mean, std, interval, and whether observed or inferred."""
        return self.session.predict(profile, skills, ci_prob, kind)

    @_call
    def most_uncertain(self, profile: str, k: int = 5) -> Predictions:
        """List an agent's k most uncertain skills. To choose what to measure: next_evaluations."""
        return self.session.most_uncertain(profile, k)

    @_call
    def profile_summary(self, profile: str) -> ProfileInfo:
        """Say which scores of an agent were observed."""
        return self.session.profile_summary(profile)

    @_call
    def list_profiles(self) -> ProfileList:
        """List all profiles with their observations, and the files that could be loaded."""
        return self.session.list_profiles()

    @_call
    def delete_profile(self, profile: str) -> Done:
        """Forget a profile. Saved files stay."""
        return self.session.delete_profile(profile)

    @_call
    def match_task(
        self,
        profile: str,
        task: Weights,
        threshold: Threshold = None,
        ci_prob: Probability = 0.9,
    ) -> MatchInfo:
        """Score one agent against a task: expected score, std, interval, P(above threshold)."""
        found = self.session.profile(profile)
        return routing.match(profile, found, task, threshold, ci_prob)

    @_call
    def rank_agents(
        self,
        task: Weights,
        profiles: Names = None,
        threshold: Threshold = None,
        ci_prob: Probability = 0.9,
    ) -> Ranking:
        """Rank agents by expected score on a task. For probabilities: compare_agents."""
        return routing.rank(self.session.chosen(profiles), task, threshold, ci_prob)

    @_call
    def compare_agents(
        self,
        task: Weights,
        profiles: Names = None,
        metadata: Metadata = None,
        limits: Limits = [],  # noqa: B006
        cost_weight: Annotated[
            float, Field(description="Score units given up per unit of cost_per_1k.")
        ] = 0.0,
        latency_weight: Annotated[
            float, Field(description="Score units given up per ms of avg_latency_ms.")
        ] = 0.0,
        quantile: Annotated[
            float | None, Field(description="Choose by this quantile (0.1 is cautious).")
        ] = None,
    ) -> ComparisonInfo:
        """Compare agents on a task jointly: P(best), expected regret, who cannot be told apart."""
        agents = self.session.chosen(profiles)
        weights = (cost_weight, latency_weight)
        return routing.compared(agents, task, metadata, limits, weights, quantile)

    @_call
    def next_evaluations(
        self,
        profiles: Names = None,
        task: Annotated[
            dict[str, float] | None,
            Field(description="The task whose decision to improve; without it, the profiles."),
        ] = None,
        budget: Annotated[
            float | None,
            Field(description="Most that a batch may cost; without it, all are rated one by one."),
        ] = None,
        costs: Annotated[
            float | dict[str, float],
            Field(description="Cost of a measurement, or by skill."),
        ] = 1.0,
        skills: Annotated[
            list[str] | None, Field(description="Skills that can be measured; by default all.")
        ] = None,
        most: Annotated[int, Field(description="Most rows to return.", ge=1)] = 20,
    ) -> EvaluationPlan:
        """Say which score of which agent to measure next, and whether that is worth anything."""
        agents = self.session.chosen(profiles)
        return routing.evaluation_plan(agents, task, budget, costs, skills, most)

    @_call
    def routing_prompt(
        self,
        task: Weights,
        description: Annotated[str, Field(description="The task in words.")] = "",
        profiles: Names = None,
        metadata: Metadata = None,
        constraints: Annotated[
            list[str], Field(description="Wishes in words that the decision should weigh.")
        ] = [],  # noqa: B006
        limits: Limits = [],  # noqa: B006
        threshold: Threshold = None,
        skills: Annotated[
            Literal["task", "all"] | int,
            Field(description="The task's skills, all skills, or so many."),
        ] = "task",
        compact: Annotated[
            bool | None, Field(description="One line per agent; by default from 50 agents on.")
        ] = None,
        token_budget: Annotated[
            int | None, Field(description="Most tokens that the prompt may have.")
        ] = None,
        reply: Annotated[
            Literal["text", "json"], Field(description="How the prompt asks for the decision.")
        ] = "text",
    ) -> PromptText:
        """Write the prompt to assign a task by: profiles, metadata, constraints, instructions."""
        return routing.routing_prompt(
            self.session.chosen(profiles),
            task,
            description,
            metadata,
            constraints,
            limits,
            threshold,
            skills,
            compact,
            token_budget,
            reply,
        )

    @_call
    def save_profile(
        self,
        profile: str,
        path: Annotated[str, Field(description="File that ends in .json.")],
        overwrite: Annotated[bool, Field(description="Replace the file if it exists.")] = False,
    ) -> SavedFile:
        """Save a profile to a file in the folder."""
        return self.session.save_profile(profile, path, overwrite)

    @_call
    def load_profile(
        self,
        path: Annotated[str, Field(description="File that ends in .json.")],
        population: Annotated[str, Field(description="The one that it was made with.")],
        name: Annotated[
            str | None, Field(description="Name to use from now on; by default the saved one.")
        ] = None,
    ) -> ProfileInfo:
        """Load a profile from a file in the folder."""
        return self.session.load_profile(path, population, name)


TOOLS: Mapping[str, ToolAnnotations] = {
    "load_population": ADDS,
    "list_populations": READS,
    "population_summary": READS,
    "list_skills": READS,
    "create_profile": ADDS,
    "observe": ADDS,
    "observe_many": ADDS,
    "predict": READS,
    "most_uncertain": READS,
    "profile_summary": READS,
    "list_profiles": READS,
    "delete_profile": CHANGES,
    "match_task": READS,
    "rank_agents": READS,
    "compare_agents": READS,
    "next_evaluations": READS,
    "routing_prompt": READS,
    "save_profile": CHANGES,
    "load_profile": ADDS,
}
