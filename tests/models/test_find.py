"""Choosing: filters are hard, ranking says why, nothing goes out unless the policy is open."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InputError, ModelError, NetworkRefused
from headrace.models import find, licence
from headrace.models.find import Candidate, Wanted, choose
from models.hub_server import HubServer, row
from models.written import model

NOW = dt.datetime(2026, 7, 1, tzinfo=dt.UTC)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_folders_and_cache_are_searched_each_model_once(tmp_path: Path, cache: Path) -> None:
    model(tmp_path / "here" / "small", readme="license: mit\nlanguage: en", parameters=100)
    model(tmp_path / "here" / "deep" / "deeper" / "large", readme="license: cc-by-nc-4.0", parameters=5000)
    (tmp_path / "here" / "broken").mkdir()
    (tmp_path / "here" / "broken" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "here" / "website").mkdir()
    (tmp_path / "here" / "website" / "config.json").write_text('{"theme": "dark"}')
    closed = tmp_path / "here" / "closed"
    closed.mkdir(mode=0o000)
    snapshots = cache / "models--acme--tiny" / "snapshots"
    model(snapshots / "0ld", readme="license: mit")
    model(snapshots / "n3w", readme="license: apache-2.0")
    (cache / "models--acme--tiny" / "refs").mkdir()
    (cache / "models--acme--tiny" / "refs" / "main").write_text("n3w")
    found = choose(find.local([tmp_path / "here", tmp_path / "here" / "small"]), Wanted())
    assert {r.candidate.name for r in found.ranked} == {"small", "large", "acme/tiny"}
    (tiny,) = [r.candidate for r in found.ranked if r.candidate.source == "cache"]
    assert (tiny.licence.id, tiny.revision) == ("apache-2.0", "n3w")
    (broken,) = found.rejected
    assert "model.safetensors, tokenizer.json missing" in broken.why[0]
    strict = choose(find.local([tmp_path / "here"]), Wanted(licence="permissive", max_parameters=500))
    assert [r.candidate.name for r in strict.ranked] == ["small"]
    reasons = {r.candidate.name: " · ".join(r.why) for r in strict.rejected}
    assert "not for commercial use" in reasons["large"]
    assert "5.0k parameters, over 500" in reasons["large"]
    assert "1.0k parameters, over 500" in reasons["acme/tiny"]


IDS = ["apache-2.0", "mit", "gpl-3.0", "cc-by-nc-4.0", "llama3", "other", "made-up", "", None]
candidates = st.builds(
    Candidate,
    name=st.sampled_from(["a/small", "b/large-chat", "c"]),
    source=st.sampled_from(["folder", "cache", "hub"]),
    task=st.sampled_from(["text-generation", "fill-mask", ""]),
    licence=st.sampled_from(IDS).map(licence.read),
    languages=st.lists(st.sampled_from(["en", "de", "pt-br", "multilingual"]), max_size=2).map(tuple),
    parameters=st.none() | st.integers(1, 10**11),
    bytes=st.none() | st.integers(1, 10**11),
    downloads=st.none() | st.integers(0, 10**9),
    updated=st.none()
    | st.datetimes(dt.datetime(2019, 1, 1), dt.datetime(2026, 6, 30)).map(
        lambda when: when.replace(tzinfo=dt.UTC)
    ),
    broken=st.sampled_from(["", "", "", "damaged"]),
)
filters = st.builds(
    Wanted,
    task=st.sampled_from(["", "generate", "fill-mask"]),
    licence=st.sampled_from(["any", "permissive", "commercial", "mit,apache-2.0"]),
    language=st.sampled_from(["", "en", "pt"]),
    max_parameters=st.none() | st.integers(1, 10**11),
    max_megabytes=st.none() | st.floats(0.1, 1e5),
    max_age_days=st.none() | st.floats(1, 3000),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(candidates, max_size=8), filters)
def test_a_filter_never_lets_a_violating_model_through(listed: list[Candidate], wanted: Wanted) -> None:
    found = choose(listed, wanted, now=NOW)
    assert len(found.ranked) + len(found.rejected) == len(listed)
    for ranked in found.ranked:
        it = ranked.candidate
        assert not it.broken
        assert ranked.why
        if wanted.task:
            assert it.task == {"generate": "text-generation"}.get(wanted.task, wanted.task)
        if wanted.licence == "permissive":
            assert it.licence.id in ("apache-2.0", "mit")
        if wanted.licence == "commercial":
            assert it.licence.commercial in ("yes", "conditions")
        if wanted.licence == "mit,apache-2.0":
            assert it.licence.id in ("apache-2.0", "mit")
        if wanted.language:
            assert any(each.split("-")[0] == wanted.language for each in it.languages)
        if wanted.max_parameters is not None:
            assert it.parameters is not None
            assert it.parameters <= wanted.max_parameters
        if wanted.max_megabytes is not None:
            assert it.bytes is not None
            assert it.bytes <= wanted.max_megabytes * 1e6
        if wanted.max_age_days is not None:
            assert it.updated is not None
            assert (NOW - it.updated).total_seconds() <= wanted.max_age_days * 86400
    assert all(kept.why for kept in found.rejected)
    scores = [ranked.score for ranked in found.ranked]
    assert scores == sorted(scores, reverse=True)


def test_popular_new_small_and_made_for_the_task_come_first() -> None:
    plain = {"source": "hub", "task": "text-generation", "parameters": 10**9, "updated": NOW}
    popular = Candidate(name="popular", downloads=10**6, **plain)  # type: ignore[arg-type]
    rare = Candidate(name="rare", downloads=10, **plain)  # type: ignore[arg-type]
    old = Candidate(name="old", downloads=10, **{**plain, "updated": NOW - dt.timedelta(days=1500)})  # type: ignore[arg-type]
    large = Candidate(name="large", downloads=10, **{**plain, "parameters": 70 * 10**9})  # type: ignore[arg-type]
    tuned = Candidate(name="tuned", downloads=10, base_model=("rare",), **plain)  # type: ignore[arg-type]
    found = choose([old, large, rare, popular, tuned], Wanted(task="generate"), now=NOW)
    names = [ranked.candidate.name for ranked in found.ranked]
    assert names[:3] == ["popular", "tuned", "rare"]
    assert set(names[3:]) == {"old", "large"}
    assert "1,000,000 downloads (+2.6)" in found.ranked[0].why
    assert "tuned from rare (+1.0)" in found.ranked[1].why


def test_the_hub_is_asked_only_where_the_policy_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NetworkRefused, match=r"'hub\.example'"):
        find.hub(Wanted(), policy="named", url="https://hub.example")
    rows = [
        row("acme/good", tags=["safetensors", "en", "license:mit", "base_model:finetune:acme/base"]),
        row("acme/nc", tags=["safetensors", "license:cc-by-nc-4.0"]),
        row("acme/gated", gated="manual"),
        row("acme/pickled", tags=["license:mit"], safetensors=None),
        row("acme/bare", tags=None, lastModified="never", downloads=-3, pipeline_tag=None),
        {"no": "id"},
    ]
    with HubServer(rows) as server:
        wanted = Wanted(task="generate", licence="mit", language="en", name="acme")
        found = choose(find.hub(wanted, policy="open", url=server.url), wanted, now=NOW)
    assert [r.candidate.name for r in found.ranked] == ["acme/good"]
    good = found.ranked[0].candidate
    assert (good.parameters, good.bytes, good.base_model) == (1_000_000, 2_000_000, ("acme/base",))
    reasons = {kept.candidate.name: " · ".join(kept.why) for kept in found.rejected}
    assert "gated" in reasons["acme/gated"]
    assert "no weights in safetensors" in reasons["acme/pickled"]
    assert "task unknown" in reasons["acme/bare"]
    (asked,) = server.asked
    assert asked["pipeline_tag"] == ["text-generation"]
    assert asked["filter"] == ["en", "license:mit"]
    assert "safetensors" in asked["expand[]"]


def test_a_hub_that_fails_says_so() -> None:
    with HubServer(status=500) as server, pytest.raises(ModelError, match="HTTP 500"):
        find.hub(Wanted(), policy="open", url=server.url)
    with HubServer({"rows": []}) as server, pytest.raises(ModelError, match="no list of models"):
        find.hub(Wanted(), policy="open", url=server.url)


def test_filters_that_let_nothing_through_are_refused() -> None:
    with pytest.raises(InputError, match="max_parameters=0"):
        Wanted(max_parameters=0)
    with pytest.raises(InputError, match="names no licence"):
        Wanted(licence="nice")
