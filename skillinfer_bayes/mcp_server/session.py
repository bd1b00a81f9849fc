"""What a server keeps: populations and profiles by name, and what can be asked of them.

Knows nothing of the protocol; every method takes and gives plain data, and fails typed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from skillinfer_bayes.exceptions import (
    PACKAGE_FOLDER,
    ConvergenceWarning,
    InputError,
    UnknownAgentError,
    closest_match_hint,
)
from skillinfer_bayes.mcp_server.folder import Folder
from skillinfer_bayes.mcp_server.results import (
    Done,
    PopulationInfo,
    PopulationList,
    Prediction,
    Predictions,
    ProfileInfo,
    ProfileList,
    SavedFile,
    SkillList,
)
from skillinfer_bayes.population import Population
from skillinfer_bayes.profiles import stored
from skillinfer_bayes.profiles.engine import Kind
from skillinfer_bayes.profiles.extrapolation import caution
from skillinfer_bayes.profiles.profile import Profile

type Metadata = Mapping[str, Mapping[str, object]] | None

POPULATION_SUFFIX = ".nc"
PROFILE_SUFFIX = ".json"


class Session:
    """Populations and profiles of one server.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._populations: dict[str, Population] = {}
        self._profiles: dict[str, tuple[str, Profile]] = {}

    def load_population(self, path: str, name: str | None) -> PopulationInfo:
        """Read a population file and keep it under a name, by default the file's."""
        found = self.folder.existing(path, POPULATION_SUFFIX)
        label = _new_name(found.stem if name is None else name, self._populations, "population")
        self._populations[label] = Population.load(found)
        return self.population_summary(label)

    def list_populations(self) -> PopulationList:
        """List what is loaded and what could be."""
        loaded = [self.population_summary(name) for name in self._populations]
        files = self.folder.listing(POPULATION_SUFFIX)
        return {"loaded": loaded, "files": files, "notes": []}

    def population_summary(self, population: str) -> PopulationInfo:
        """Describe a population and how far its fit can be trusted."""
        found = self._population(population)
        verdict = found.convergence
        return {
            "name": population,
            "population_id": found.population_id,
            "n_agents": len(found.agents),
            "n_skills": found.history.n_skills,
            "filled": float(found.history.observed.mean()),
            "converged": bool(verdict.converged),
            "fit": str(verdict),
            "problems": list(verdict.problems),
            "notes": [],
        }

    def list_skills(self, population: str, search: str) -> SkillList:
        """List skills whose name or description holds a text."""
        found = self._population(population)
        bounds = found.profile().score_bounds
        wanted = search.casefold()
        return {
            "total": len(found.skills),
            "skills": [
                {
                    "skill": skill.name,
                    "description": skill.description,
                    "lowest": _finite(bounds[skill.name][0]),
                    "highest": _finite(bounds[skill.name][1]),
                }
                for skill in found.skills
                if wanted in skill.name.casefold() or wanted in skill.description.casefold()
            ],
            "notes": [],
        }

    def create_profile(
        self,
        name: str,
        population: str,
        observations: Mapping[str, float],
        group: str | None,
        covariates: Mapping[str, float] | None,
    ) -> ProfileInfo:
        """Start a profile, with the scores that are known."""
        label = _new_name(name, self._profiles, "profile")
        made = self._population(population).profile(label, group=group, covariates=covariates)
        self._profiles[label] = (population, made.observe_many(observations))
        return self.profile_summary(label)

    def observe(
        self, profile: str, skill: str, score: float, n_items: float | None, stderr: float | None
    ) -> ProfileInfo:
        """Take in one measured score."""
        self.profile(profile).observe(skill, score, n_items=n_items, stderr=stderr)
        return self.profile_summary(profile)

    def observe_many(self, profile: str, observations: Mapping[str, float]) -> ProfileInfo:
        """Take in several measured scores, all or none."""
        self.profile(profile).observe_many(observations)
        return self.profile_summary(profile)

    def predict(
        self, profile: str, skills: list[str] | None, ci_prob: float, kind: Kind
    ) -> Predictions:
        """Predict skills, by default all."""
        found = self.profile(profile)
        names = found.skills if skills is None else skills
        rows = [found.predict(name, ci_prob=ci_prob, kind=kind) for name in names]
        return {
            "profile": profile,
            "ci_prob": ci_prob,
            "predictions": [_prediction(row) for row in rows],
            "notes": cautions(found),
        }

    def most_uncertain(self, profile: str, k: int) -> Predictions:
        """List the k skills with the largest standard deviation."""
        found = self.profile(profile)
        table = found.most_uncertain(k)
        rows = [{"skill": skill, **row.to_dict()} for skill, row in table.iterrows()]
        return {
            "profile": profile,
            "ci_prob": 0.9,
            "predictions": [_prediction(row) for row in rows],
            "notes": cautions(found),
        }

    def profile_summary(self, profile: str) -> ProfileInfo:
        """Say what was observed of a profile."""
        found = self.profile(profile)
        return {
            "name": profile,
            "population": self._profiles[profile][0],
            "n_skills": len(found.skills),
            "observations": found.observations,
            "notes": cautions(found),
        }

    def list_profiles(self) -> ProfileList:
        """List all profiles and the profile files in the folder."""
        return {
            "profiles": [self.profile_summary(name) for name in self._profiles],
            "files": self.folder.listing(PROFILE_SUFFIX),
            "notes": [],
        }

    def delete_profile(self, profile: str) -> Done:
        """Forget a profile; files stay."""
        self.profile(profile)
        del self._profiles[profile]
        return {"done": f"profile {profile!r} was deleted", "notes": []}

    def save_profile(self, profile: str, path: str, overwrite: bool) -> SavedFile:
        """Write a profile to a file in the folder."""
        found = self.profile(profile)
        place = self.folder.writable(path, PROFILE_SUFFIX, overwrite=overwrite)
        found.to_json(place)
        return {"path": path, "notes": []}

    def load_profile(self, path: str, population: str, name: str | None) -> ProfileInfo:
        """Read a profile from a file in the folder."""
        base = self._population(population)
        given = stored.read_json(self.folder.existing(path, PROFILE_SUFFIX))
        agent = stored.agent_of(given) if name is None else name
        label = _new_name(agent, self._profiles, "profile")
        self._profiles[label] = (population, Profile.from_dict({**given, "agent": label}, base))
        return self.profile_summary(label)

    def chosen(self, names: list[str] | None) -> dict[str, Profile]:
        """Give the profiles with these names, by default all."""
        chosen = list(self._profiles) if names is None else names
        if not chosen:
            raise InputError("`profiles` must name at least one profile, got none; make one first")
        if len(set(chosen)) < len(chosen):
            raise InputError("`profiles` must name each profile once; leave out what comes twice")
        return {name: self.profile(name) for name in chosen}

    def _population(self, name: str) -> Population:
        if name not in self._populations:
            raise InputError(
                f"unknown population {name!r}; {_hint(name, self._populations, 'load_population')}"
            )
        return self._populations[name]

    def profile(self, name: str) -> Profile:
        """Give the profile with a name."""
        if name not in self._profiles:
            hint = _hint(name, self._profiles, "create_profile")
            raise UnknownAgentError(f"unknown profile {name!r}; {hint}")
        population, found = self._profiles[name]
        self._doubt(population)
        return found

    def _doubt(self, population: str) -> None:
        """Warn of a population whose fit should not be trusted."""
        problems = self._populations[population].convergence.problems
        if problems:
            warnings.warn(
                f"the fit of population {population!r} should not be trusted yet: "
                f"{'; '.join(problems)}",
                ConvergenceWarning,
                skip_file_prefixes=(PACKAGE_FOLDER,),
            )


def _new_name(name: str, taken: Iterable[str], kind: str) -> str:
    if not name.strip() or any("\ud800" <= letter <= "\udfff" for letter in name):
        raise InputError(
            f"`name` must be a text that is not blank, got {name!r}; give the {kind} a name"
        )
    if name in taken:
        raise InputError(
            f"`name` must be new, got {name!r}, which is a {kind} already; choose another one"
        )
    return name


def _hint(name: str, known: Mapping[str, Any], tool: str) -> str:
    return closest_match_hint(name, known) if known else f"there is none yet, use {tool}"


def cautions(profile: Profile) -> list[str]:
    """Say what to mind of a profile that extrapolates."""
    note = caution(profile.surprise)
    return [f"caution: {note}"] if note else []


def _prediction(row: Mapping[Any, Any]) -> Prediction:
    return {
        "skill": str(row["skill"]),
        "mean": float(row["mean"]),
        "std": float(row["std"]),
        "lower": float(row["lower"]),
        "upper": float(row["upper"]),
        "source": str(row["source"]),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
