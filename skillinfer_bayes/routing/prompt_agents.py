"""The agents' part of the prompt: a block for each agent, or one line each where there are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.profiles.task import Task
from skillinfer_bayes.routing.interfaces import (
    ProfileLike,
    check_profiles,
    is_normalized,
    surprise_of,
)
from skillinfer_bayes.routing.labels import agent_ids, agent_label, one_line, quoted
from skillinfer_bayes.routing.prompt_facts import (
    AgentFacts,
    SkillChoice,
    ask_profiles,
    decimal_places,
    shown_skills,
    wanted_skills,
)
from skillinfer_bayes.routing.prompt_metadata import (
    GIVEN_DIGITS,
    check_metadata,
    is_taken,
    metadata_cell,
    metadata_columns,
    metadata_lines,
    number_text,
)


@dataclass(frozen=True, slots=True)
class AgentTexts:
    """All agents of a prompt, ready to be written in any order and form.

    Parameters
    ----------
    facts : mapping of str to AgentFacts
        By name, in the order given.
    ids : mapping of str to str
        Id by name, for replies in JSON.
    task_skills : tuple of str
        The task's skills, the most important first.
    skills : tuple of str
        The skills to show: the task's first.
    digits : mapping of str to int
        Decimal places by skill.
    threshold : float or None
    """

    facts: Mapping[str, AgentFacts]
    ids: Mapping[str, str]
    task_skills: tuple[str, ...]
    skills: tuple[str, ...]
    digits: Mapping[str, int]
    threshold: float | None

    def blocks(self, order: Sequence[str], n_skills: int, *, as_ids: bool) -> str:
        """Write a block of lines for each agent.

        Parameters
        ----------
        order : sequence of str
            Names of the agents.
        n_skills : int
            How many skills to show.
        as_ids : bool
            Name agents by their ids.

        Returns
        -------
        str
        """
        return "\n".join(
            line for name in order for line in self._block(self.facts[name], n_skills, as_ids)
        )

    def table(self, order: Sequence[str], n_skills: int, *, as_ids: bool) -> str:
        """Write one line for each agent; parameters as `blocks`.

        Columns are separated by tabs, which no text from outside can contain.
        """
        shown = self.skills[:n_skills]
        above = [] if self.threshold is None else [self._above]
        extra = metadata_columns((fact.metadata or {} for fact in self.facts.values()), shown)
        lines = [["Agent", "Task fit", *above, *map(skill_label, shown), *extra.values()]]
        lines += [self._row(self.facts[name], shown, list(extra), as_ids) for name in order]
        if any(facts.warning for facts in self.facts.values()):
            lines[0].append("Caution")
            for cells, name in zip(lines[1:], order, strict=True):
                cells.append(self.facts[name].warning or "-")
        return "\n".join("\t".join(cells) for cells in lines)

    @property
    def _above(self) -> str:
        return f"P>{number_text(float(self.threshold or 0.0), GIVEN_DIGITS)}"

    def _block(self, facts: AgentFacts, n_skills: int, as_ids: bool) -> list[str]:
        lines = [f"{self._heading(facts.name, as_ids)}:", "  Skill profile:"]
        for position, skill in enumerate(self.skills[:n_skills]):
            if position == len(self.task_skills):
                lines.append("  Other skills:")
            mean, std, source = self._numbers(facts, skill)
            lines.append("    " + one_line(f"{skill_label(skill)}: {mean} ± {std} ({source})"))
        score, std = self._fit(facts)
        if self.threshold is None:
            lines.append(f"  Task fit: {score} ± {std}")
        else:
            above = f"{facts.match.p_above_threshold:.0%}"
            lines.append(f"  Task fit: {score} ({self._above} = {above})")
        if facts.warning:
            lines.append(f"  Caution: {facts.warning}")
        shown = metadata_lines(facts.metadata or {}, self.skills[:n_skills])
        return lines + [f"  {line}" for line in shown]

    def _row(
        self, facts: AgentFacts, skills: Sequence[str], keys: Sequence[object], as_ids: bool
    ) -> list[str]:
        score, std = self._fit(facts)
        cells = [self._heading(facts.name, as_ids), f"{score}±{std}"]
        if self.threshold is not None:
            cells.append(f"{facts.match.p_above_threshold:.0%}")
        for skill in skills:
            mean, spread, source = self._numbers(facts, skill)
            cells.append(f"{mean}±{spread}{'*' if source == 'observed' else ''}")
        return cells + [metadata_cell(facts.metadata or {}, key) for key in keys]

    def _heading(self, name: str, as_ids: bool) -> str:
        label = agent_label(name)
        if not as_ids or self.ids[name] == label:
            return label
        return f"{self.ids[name]}, named {label}"

    def _numbers(self, facts: AgentFacts, skill: str) -> tuple[str, str, str]:
        row, places = facts.skills[skill], self.digits[skill]
        return f"{row['mean']:z.{places}f}", f"{row['std']:.{places}f}", row["source"]

    def _fit(self, facts: AgentFacts) -> tuple[str, str]:
        places = 2 if facts.normalized else max(self.digits[skill] for skill in self.task_skills)
        return f"{facts.match.score:z.{places}f}", f"{facts.match.std:.{places}f}"


def gather_agents(
    task: Task,
    profiles: Mapping[str, ProfileLike],
    metadata: Mapping[str, Mapping[str, object]] | None,
    threshold: float | None,
    skills: SkillChoice,
) -> AgentTexts:
    """Ask every profile once for all that the prompt may show.

    Parameters
    ----------
    task, profiles, metadata, threshold, skills
        As in `skillinfer_bayes.routing.prompt.build_prompt`.

    Returns
    -------
    AgentTexts

    Raises
    ------
    InputError, PopulationMismatchError
        As `build_prompt`.
    """
    check_profiles(profiles)
    if not profiles:
        raise InputError(
            "`profiles` must hold at least one agent, got none; there is nothing to choose from"
        )
    known = check_metadata(metadata, profiles)
    ids = {name: label for label, name in agent_ids(profiles).items()}
    given = dict(profiles)  # a table of profiles makes each anew when asked
    wanted = wanted_skills(task, given, skills)
    rows, matches = ask_profiles(task, profiles, given, wanted, threshold)
    facts = {
        name: AgentFacts(
            name,
            rows[name],
            matches[name],
            is_normalized(profile),
            known.get(name),
            surprise_of(profile),
        )
        for name, profile in given.items()
    }
    shown = shown_skills(task, wanted, facts, skills)
    digits = {skill: decimal_places(skill, given, facts) for skill in shown}
    return AgentTexts(facts, ids, task.skills, shown, digits, threshold)


def skill_label(skill: str) -> str:
    """Show a skill's name: in quotes where it could pass for one of the prompt's own labels."""
    return quoted(skill) if is_taken(skill) else one_line(skill)


def count_shown(texts: AgentTexts, skills: SkillChoice) -> int:
    """Count the skills to show: all that were gathered, or the number asked for."""
    return min(skills, len(texts.skills)) if isinstance(skills, int) else len(texts.skills)
