"""Public tables through a server on this machine: what is read, kept, checked and refused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes.exceptions import (
    ConfigError,
    DatasetError,
    HistoryWarning,
    InputError,
    MissingDependencyError,
)
from skillinfer_bayes.history import datasets, downloads, public_tables
from skillinfer_bayes.history.downloads import Options, Source, load_files

OPEN_LLM = """\
T,Model,Average ⬆️,IFEval,IFEval Raw,BBH,BBH Raw,MATH Lvl 5,MATH Lvl 5 Raw,GPQA,GPQA Raw,MUSR,\
MUSR Raw,MMLU-PRO,MMLU-PRO Raw,Type,Architecture,Precision,Hub License,#Params (B),Hub ❤️,\
Submission Date,Upload To Hub Date,Chat Template
o,ada/one,40,80.0,0.8,58.8,0.71,39.0,0.39,20.0,0.4,23.7,0.5,50.0,0.55,\
"💬 chat (RLHF, DPO)",A1,bfloat16,mit,7,12,2024-08-07,2024-07-24,True
o,ada/one,39,10.0,0.1,58.8,0.71,39.0,0.39,20.0,0.4,23.7,0.5,50.0,0.55,\
"💬 chat (RLHF, DPO)",A1,float16,mit,7,12,2024-08-07,2024-07-24,True
o,bo/two,20,40.0,0.4,30.0,0.45,0.0,0.0,0.0,0.25,5.0,0.4,0.0,0.1,🟢 pretrained,A2,bfloat16,,\
70,3,2024-06-01,2024-05-01,False
o,cy/three,30,60.5,0.6,40.0,0.5,10.0,0.1,10.0,0.32,8.0,0.42,30.0,0.37,🟢 pretrained,A2,\
bfloat16,,13,5,2024-06-02,2024-05-02,False
"""
TEXTS = {
    "open-llm-leaderboard_new.csv": OPEN_LLM,
    "data_overall.csv": """\
Rank,Overall Acc,Model,Total Cost ($),Latency Mean (s),Latency Standard Deviation (s),\
Latency 95th Percentile (s),Organization,License
1,70%,Ada-1 (FC),86.55,4.38,3.13,7.56,Ada,MIT
2,60%,Ada-1 (Prompt + Thinking),N/A,1.0,N/A,2.0,Ada,MIT
3,50%,Bo,3.1,2.0,1.0,4.0,Bo,Proprietary
""",
    "data_non_live.csv": """\
Rank,Model,Python Simple AST,Java Simple AST,JavaScript Simple AST,Multiple AST,Parallel AST,\
Parallel Multiple AST,Irrelevance Detection
1,Bo,50.00%,51.00%,52.00%,53.00%,54.00%,55.00%,50.00%
2,Ada-1 (FC),96.50%,60.00%,74.00%,95.50%,93.50%,88.50%,85.83%
3,Ada-1 (Prompt + Thinking),90.00%,60.00%,74.00%,95.50%,93.50%,88.50%,85.83%
""",
    "data_live.csv": """\
Rank,Model,Python Simple AST,Python Multiple AST,Python Parallel AST,\
Python Parallel Multiple AST,Irrelevance Detection,Relevance Detection
1,Ada-1 (FC),86.43%,78.16%,87.50%,75.00%,83.60%,62.50%
2,Ada-1 (Prompt + Thinking),86.43%,78.16%,87.50%,75.00%,83.60%,61.11%
3,Bo,86.43%,78.16%,87.50%,75.00%,83.60%,62.50%
""",
    "data_multi_turn.csv": """\
Rank,Model,Base,Miss Func,Miss Param,Long Context
1,Ada-1 (FC),81.00%,64.00%,58.00%,70.50%
2,Bo,0.00%,0.00%,0.00%,0.00%
3,Ada-1 (Prompt + Thinking),N/A,64.00%,58.00%,70.50%
""",
    "data_agentic.csv": """\
Rank,Model,Web Search Base,Web Search No Snippet,Memory KV,Memory Vector,\
Memory Recursive Summarization
1,Ada-1 (FC),84.00%,85.00%,70.97%,72.90%,77.42%
2,Bo,0.00%,0.00%,0.65%,0.00%,1.29%
3,Ada-1 (Prompt + Thinking),84.00%,85.00%,70.97%,72.90%,77.42%
""",
    "score_matrix_paper_wide.csv": """\
model_id,gpqa,chatbot_arena_elo
ada-1,77.2,1363.0
bo,,1200.5
cy,50.1,
""",
    "models.csv": """\
model_id,model_name,provider,release_date,is_reasoning,canonical_setting_json
cy,Cy,CyCo,2025-03,False,{}
ada-1,Ada 1,AdaCo,2025-01-31,True,{}
bo,Bo,,,,{}
""",
    "benchmarks.csv": """\
benchmark_id,benchmark_name,category,metric,num_problems,source_url,canonical_setting_json
chatbot_arena_elo,Chatbot Arena,Chat,Elo,,https://example.org,{}
gpqa,GPQA Diamond,Science,pass@1,198,https://example.org,{}
""",
    "Occupation Data.txt": """\
O*NET-SOC Code\tTitle\tDescription
11-1011.00\tChief Executives\tThey lead.
11-1021.00\tManagers\tThey manage.
99-0000.00\tNobody\tNot rated.
13-1111.00\tAnalysts\tThey analyse.
""",
}
ONET_HEADER = "O*NET-SOC Code\tElement ID\tElement Name\tScale ID\tData Value\tN\n"
ONET_RATINGS = {
    "Skills.txt": {"Reading": (4.0, 3.0, 2.0)},
    "Knowledge.txt": {"Biology": (1.5, 1.0, 2.0)},
    "Abilities.txt": {"Stamina": (1.0, 2.0, 5.0)},
}
SOURCE = Source("example", "http://127.0.0.1", ("table.csv",), {})
TABLE = "model,skill\na,0.5\nb,0.25\n"


def onet_text(name: str) -> str:
    lines = [ONET_HEADER]
    for element, values in ONET_RATINGS[name].items():
        codes = ("11-1011.00", "11-1021.00", "13-1111.00")
        for code, value in zip(codes, values, strict=True):
            lines.append(f"{code}\t1.A\t{element}\tIM\t{value}\t8\n")
            lines.append(f"{code}\t1.A\t{element}\tLV\t6.0\t8\n")
    return "".join(lines)


class Server:
    """A folder served on this machine, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        self.running = True

    def write(self, **texts: str) -> None:
        for name, text in texts.items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def stop(self) -> None:
        if self.running:
            self.running = False
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    running = Server(folder)
    yield running
    running.stop()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def load(server: Server, cache: Path) -> Callable[..., tuple[str, dict[str, str]]]:
    """Load one table and read it as text; a text without a comma cannot be read."""

    def read(paths):
        text = paths["table.csv"].read_text(encoding="utf-8")
        if "," not in text:
            raise ValueError("no table")
        return text

    def call(refresh: bool = False, source: Source = SOURCE):
        return load_files(source, Options(cache, server.address, refresh), read)

    return call


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_a_file_is_downloaded_once_and_then_needs_no_network(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    first, checksums = load()
    assert first == TABLE
    assert kept(cache) == ["table.csv", "table.csv.sha256"]
    server.stop()
    assert load() == (TABLE, checksums)
    assert server.asked == ["/table.csv"]
    recorded = next(cache.rglob("*.sha256")).read_text("utf-8").strip()
    assert checksums == {"table.csv": recorded}


def test_a_damaged_copy_is_replaced(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    load()
    next(cache.rglob("table.csv")).write_text("model,skill\nspoilt,1\n", encoding="utf-8")
    assert load()[0] == TABLE
    assert len(server.asked) == 2


def test_a_damaged_copy_without_a_network_is_an_error(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    load()
    next(cache.rglob("table.csv")).write_text("model,skill\nspoilt,1\n", encoding="utf-8")
    server.stop()
    with pytest.raises(DatasetError, match=r"could not be downloaded \(ConnectionError\)"):
        load()


def test_a_file_that_changed_at_its_source_is_an_error_until_refreshed(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    load()
    next(cache.rglob("table.csv")).unlink()
    server.write(**{"table.csv": TABLE + "c,1\n"})
    with pytest.raises(DatasetError, match=r"not the file that it was \(SHA-256 .*refresh=True"):
        load()
    assert load(refresh=True)[0] == TABLE + "c,1\n"
    assert load()[0] == TABLE + "c,1\n"


def test_a_refresh_without_a_network_keeps_what_there_was(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    load()
    server.stop()
    with pytest.raises(DatasetError, match="could not be downloaded"):
        load(refresh=True)
    assert load()[0] == TABLE
    assert kept(cache) == ["table.csv", "table.csv.sha256"]


def test_a_refresh_that_cannot_be_read_keeps_what_there_was(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    load()
    server.write(**{"table.csv": "<html>log in</html>"})
    with pytest.raises(DatasetError, match="no table"):
        load(refresh=True)
    assert kept(cache) == ["table.csv", "table.csv.sha256"]
    server.stop()
    assert load()[0] == TABLE


def test_a_verified_checksum_cannot_be_refreshed_away(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    right = load()[1]["table.csv"]
    assert (
        load(source=Source("right", "http://x", ("table.csv",), {"table.csv": right}))[0] == TABLE
    )
    wrong = Source("wrong", "http://x", ("table.csv",), {"table.csv": "0" * 64})
    for refresh in (False, True):
        with pytest.raises(DatasetError, match="wait for a new version of this package"):
            load(refresh, wrong)


def test_what_cannot_be_read_is_not_kept(load, server, cache) -> None:
    server.write(**{"table.csv": "<html>Please log in to this network</html>"})
    with pytest.raises(
        DatasetError, match=r"do not hold what is expected \(ValueError: no table\)"
    ):
        load()
    assert kept(cache) == []
    server.write(**{"table.csv": TABLE})
    assert load()[0] == TABLE


def test_a_missing_file_is_an_error_with_its_status(load) -> None:
    with pytest.raises(DatasetError, match=r"HTTP status 404.*put the file at '"):
        load()


def test_a_file_put_there_by_hand_needs_no_network(load, server, cache) -> None:
    server.stop()
    with pytest.raises(DatasetError) as caught:
        load()
    place = Path(str(caught.value).rpartition("put the file at '")[2].rstrip("'"))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(TABLE, encoding="utf-8")
    assert load()[0] == TABLE
    assert kept(cache) == ["table.csv", "table.csv.sha256"]


def test_a_file_put_there_by_hand_is_not_deleted(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    load()
    for name in ("table.csv", "table.csv.sha256"):
        path = next(cache.rglob(name))
        path.unlink() if name.endswith("sha256") else path.write_text("mine\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"ValueError: no table.*`refresh=True`"):
        load()
    assert kept(cache) == ["table.csv"]
    assert load(refresh=True)[0] == TABLE


def test_copies_from_two_addresses_are_kept_apart(load, server, cache) -> None:
    server.write(**{"table.csv": TABLE})
    load()
    (server.folder / "new").mkdir()
    (server.folder / "new" / "table.csv").write_text(TABLE + "c,1\n", encoding="utf-8")
    options = Options(cache, f"{server.address}/new/")
    text, _ = load_files(SOURCE, options, lambda paths: paths["table.csv"].read_text("utf-8"))
    assert text == TABLE + "c,1\n"
    assert load()[0] == TABLE


def test_pooch_is_needed_for_downloads_only(load, server, monkeypatch) -> None:
    server.write(**{"table.csv": TABLE})
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pooch", None)
        with pytest.raises(
            MissingDependencyError, match=r"needs pooch.*skillinfer_bayes\[datasets\]"
        ):
            load()
    load()
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert load()[0] == TABLE


@pytest.mark.parametrize("mirror", ["ftp://example.org", "/srv/data", "https://", 3])
def test_a_mirror_that_is_no_web_address(mirror, cache) -> None:
    with pytest.raises(ConfigError, match="`mirror` must be an http or https address"):
        datasets.bfcl(cache=cache, mirror=mirror)


def test_a_mirror_with_a_password_is_refused_without_repeating_it(cache) -> None:
    with pytest.raises(ConfigError, match=r"~/\.netrc") as caught:
        datasets.bfcl(cache=cache, mirror="https://me:s3cret@example.org/data")
    assert "s3cret" not in str(caught.value)


def test_the_users_cache_folder_is_the_default(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(downloads, "user_cache_path", lambda name: tmp_path / "home" / name)
    server.write(**TEXTS)
    datasets.open_llm_leaderboard(mirror=server.address)
    assert "open-llm-leaderboard_new.csv" in kept(
        tmp_path / "home" / "skillinfer_bayes" / "datasets"
    )


def test_open_llm_leaderboard(server, cache) -> None:
    server.write(**TEXTS)
    found = datasets.open_llm_leaderboard(cache=cache, mirror=server.address)
    assert list(found.scores.index) == ["ada/one", "bo/two", "cy/three"]  # the first of repeats
    np.testing.assert_allclose(found.scores.loc["ada/one"], [0.8, 0.71, 0.39, 0.4, 0.5, 0.55])
    np.testing.assert_allclose(found.scores.loc["bo/two"], [0.4, 0.45, 0.0, 0.25, 0.4, 0.1])
    assert found.n_items.loc["bo/two", "MMLU_PRO"] == 12032
    assert found.metadata.loc["ada/one", "type"] == "chat (RLHF, DPO)"
    assert found.metadata.loc["bo/two", ["organisation", "params_b"]].tolist() == ["bo", 70]
    assert (found.licence, found.source) == ("MIT", server.address)
    assert "2412.06540" in found.citation
    assert repr(found) == "Dataset(open_llm_leaderboard, 3 agents x 6 skills, 100% filled)"


def test_open_llm_leaderboard_without_types(server, cache) -> None:
    text = OPEN_LLM.replace('"💬 chat (RLHF, DPO)"', "").replace("🟢 pretrained", "")
    server.write(**{"open-llm-leaderboard_new.csv": text})
    found = datasets.open_llm_leaderboard(cache=cache, mirror=server.address)
    assert found.metadata["type"].isna().all()


def test_bfcl(server, cache) -> None:
    server.write(**TEXTS)
    found = datasets.bfcl(cache=cache, mirror=server.address)
    assert found.scores.shape == (3, 22)
    row = found.scores.loc["Ada-1 (FC)"]
    assert row[["nonlive_simple_python", "live_relevance", "memory_kv"]].tolist() == [
        0.965,
        0.625,
        0.7097,
    ]
    assert found.scores.loc["Bo", "nonlive_multiple"] == 0.53
    assert np.isnan(found.scores.loc["Ada-1 (Prompt + Thinking)", "multiturn_base"])
    assert found.metadata["mode"].tolist() == ["FC", "Prompt", "other"]
    assert found.metadata["base_model"].tolist() == ["Ada-1", "Ada-1", "Bo"]
    assert found.metadata.loc["Ada-1 (FC)", "cost_usd_total_run"] == 86.55
    assert np.isnan(found.metadata.loc["Ada-1 (Prompt + Thinking)", "cost_usd_total_run"])
    # 61.11 % is not a number of sixteenths, so that skill's count is not what is assumed
    assert found.n_items["live_relevance"].isna().all()
    assert found.n_items["live_multiple"].tolist() == [1053.0] * 3
    assert np.isnan(found.n_items.loc["Ada-1 (Prompt + Thinking)", "multiturn_base"])
    assert set(found.sha256) == {f"data_{name}.csv" for name in public_tables.BFCL_FILES}


def test_benchpress(server, cache) -> None:
    server.write(**TEXTS)
    found = datasets.benchpress(cache=cache, mirror=server.address)
    assert found.scores["gpqa"].isna().tolist() == [False, True, False]
    assert found.scale == {"gpqa": "percent", "chatbot_arena_elo": "unbounded"}
    assert found.metadata.index.tolist() == ["ada-1", "bo", "cy"]
    assert found.metadata.loc["ada-1", ["name", "provider"]].tolist() == ["Ada 1", "AdaCo"]
    assert found.skills.loc["gpqa", "num_problems"] == 198
    assert found.licence == "CDLA-Permissive-2.0"
    assert found.n_items is None
    links = found.to_history().scales.describe().set_index("skill")["link"]
    assert links[["gpqa", "chatbot_arena_elo"]].tolist() == ["logit", "identity"]


def test_onet_from_its_own_site(server, cache) -> None:
    server.write(**TEXTS, **{name: onet_text(name) for name in ONET_RATINGS})
    found = datasets.onet(cache=cache, mirror=server.address)
    assert list(found.scores.index) == ["Chief Executives", "Managers", "Analysts"]
    assert list(found.scores) == ["Skill:Reading", "Knowledge:Biology", "Ability:Stamina"]
    np.testing.assert_allclose(found.scores["Skill:Reading"], [1.0, 0.5, 0.0])
    np.testing.assert_allclose(found.scores["Ability:Stamina"], [0.0, 0.25, 1.0])
    assert found.metadata.loc["Managers", "soc_code"] == "11-1021.00"
    assert found.licence == "CC-BY-4.0"


def test_onet_from_the_installed_package(cache) -> None:
    pytest.importorskip("skillinfer")
    found = datasets.onet(cache=cache)
    assert found.scores.shape == (894, 120)
    assert found.source == "the package skillinfer"
    assert not cache.exists()
    assert found.to_history().n_agents == 894


def test_onet_is_downloaded_where_the_package_ships_another_table(
    server, cache, monkeypatch
) -> None:
    monkeypatch.setattr(datasets, "_ONET_IN_SKILLINFER", "0" * 64)
    server.write(**TEXTS, **{name: onet_text(name) for name in ONET_RATINGS})
    monkeypatch.setattr(datasets, "_ONET", datasets._ONET.at(server.address))
    assert datasets.onet(cache=cache).source == server.address


@pytest.mark.parametrize(
    ("loader", "name", "spoil"),
    [
        ("open_llm_leaderboard", "open-llm-leaderboard_new.csv", ("IFEval,", "Other,")),
        ("open_llm_leaderboard", "open-llm-leaderboard_new.csv", ("80.0", "180.0")),
        ("bfcl", "data_live.csv", ("Relevance Detection\n", "Relevance\n")),
        ("bfcl", "data_agentic.csv", ("84.00%", "good")),
        ("bfcl", "data_live.csv", ("3,Bo", "3,Ada-1 (FC)")),
        ("benchpress", "score_matrix_paper_wide.csv", ("77.2", "177.2")),
        ("benchpress", "models.csv", ("model_id", "id")),
    ],
)
def test_files_that_are_not_what_they_should_be(loader, name, spoil, server, cache) -> None:
    server.write(**(TEXTS | {name: TEXTS[name].replace(*spoil)}))
    with pytest.raises(DatasetError, match="do not hold what is expected"):
        getattr(datasets, loader)(cache=cache, mirror=server.address)
    assert kept(cache) == []


def test_a_history_with_item_counts_and_families(server, cache) -> None:
    server.write(**TEXTS)
    found = datasets.open_llm_leaderboard(cache=cache, mirror=server.address)
    with pytest.warns(HistoryWarning, match="fine for averages of subtasks"):
        history = found.to_history(groups="organisation")
    assert history.groups == ("ada", "bo", "cy")
    assert history.n_items[0, 0] == 541
    assert found.to_history(n_items=False).n_items is None
    with pytest.raises(InputError, match=r"`groups` must be a column.*did you mean 'organisation'"):
        found.to_history(groups="organization")


def as_published(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """A part of the leaderboard's own layout: percentages with two decimals, its own names."""
    columns = {
        column: [f"{100 * value:.2f}%" for value in table[skill]]
        for skill, (of, column, _) in public_tables.BFCL_SKILLS.items()
        if of == part
    }
    return pd.DataFrame({"Model": table.index, **columns})


def test_bfcl_on_the_real_table_in_the_sites_layout(server, cache, shared_data) -> None:
    real = pd.read_csv(shared_data / "bfcl_v4.csv", index_col=0).drop(columns="family")
    items = pd.read_csv(shared_data / "bfcl_v4_n_items.csv", index_col=0)
    facts = pd.read_csv(shared_data / "bfcl_v4_metadata.csv", index_col=0)
    for part in public_tables.BFCL_FILES[:-1]:
        shuffled = as_published(real, part).sample(frac=1.0, random_state=1)
        shuffled.to_csv(server.folder / f"data_{part}.csv", index=False)
    names = {ours: theirs for theirs, ours in public_tables.BFCL_METADATA.items()}
    overall = facts[list(names)].rename(columns=names).rename_axis("Model")
    overall.to_csv(server.folder / "data_overall.csv")
    found = datasets.bfcl(cache=cache, mirror=server.address)
    pd.testing.assert_frame_equal(found.scores, real)
    pd.testing.assert_frame_equal(found.n_items, items.astype(float))
    pd.testing.assert_frame_equal(found.metadata, facts[found.metadata.columns], check_dtype=False)
