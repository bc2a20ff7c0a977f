"""Settings: what the file and the environment say, and what they may not say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace import network, settings
from headrace.errors import NetworkRefused, SettingsError


def write(folder: Path, text: str) -> Path:
    (folder / "headrace.toml").write_text(text, encoding="utf-8")
    return folder


def test_defaults_without_a_file(tmp_path: Path) -> None:
    found = settings.load(tmp_path)
    assert found.network == "named"
    assert found.ledger.retention_days > 0
    assert found.state == tmp_path / ".headrace"


def test_the_nearest_file_above_is_the_projects(tmp_path: Path) -> None:
    write(tmp_path, '[project]\nname = "top"\n')
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert settings.load(tmp_path / "a" / "b").root == tmp_path
    assert settings.load(tmp_path / "a" / "b").name == "top"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, "[kb]\nchunk_tokens = 100\n")
    assert settings.load(tmp_path).kb.chunk_tokens == 100
    write(tmp_path, "[kb]\nchunk_tokens = 120  # more\n")
    assert settings.load(tmp_path).kb.chunk_tokens == 120


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[kb\n", "not valid TOML"),
        ("[kbb]\n", "'kbb', which is not a setting"),
        ("[kb]\nchunk_token = 1\n", "Did you mean 'chunk_tokens'"),
        ("[kb]\nchunk_tokens = 'many'\n", "is not of type int"),
        ("[kb]\nchunk_tokens = true\n", "is not of type int"),
        ("[network]\npolicy = 'sometimes'\n", "policy 'sometimes' is not known"),
        ("kb = 3\n", "is 3, not a table"),
        ("[models.x]\nurrl = 'http://127.0.0.1'\n", "Did you mean 'url'"),
    ],
)
def test_wrong_settings_are_errors_with_a_way_out(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        settings.load(write(tmp_path, text))


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[models]\ndefault = "a"\n[network]\npolicy = "open"\n')
    monkeypatch.setenv("HEADRACE_MODEL", "openai:b")
    monkeypatch.setenv("HEADRACE_NETWORK", "off")
    monkeypatch.setenv("HEADRACE_LEDGER", "no-content")
    found = settings.load(tmp_path)
    assert (found.default_model, found.network, found.ledger.content) == ("openai:b", "off", False)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]:9/x", True),
        ("http://127.0.0.1.example.org/", False),
        ("http://localhost.example.org/", False),
        ("http://10.0.0.1/", False),
    ],
)
def test_loopback_is_not_network(url: str, loopback: bool) -> None:
    assert network.is_loopback(url) is loopback
    if loopback:
        network.require(url, "off", named=False)
    else:
        with pytest.raises(NetworkRefused, match="'off' does not allow"):
            network.require(url, "off", named=True)
        with pytest.raises(NetworkRefused, match="'named' does not allow"):
            network.require(url, "named", named=False)
        network.require(url, "named", named=True)
        network.require(url, "open", named=False)


def test_every_variable_that_is_read_makes_settings_be_read_again() -> None:
    """A variable that ``_read`` looks at and ``load`` does not compare would be noticed too late."""
    import inspect
    import re

    from headrace import settings

    read = set(re.findall(r'"(HEADRACE_[A-Z]+)"', inspect.getsource(settings._read)))
    assert read == set(settings._VARIABLES)


def test_settings_that_go_away_give_way_to_those_further_up(tmp_path: Path) -> None:
    from headrace import settings

    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "headrace.toml").write_text('[project]\nname = "outer"\n')
    (inner / "headrace.toml").write_text('[project]\nname = "inner"\n')
    assert settings.load(inner).name == "inner"
    (inner / "headrace.toml").unlink()
    assert settings.load(inner).name == "outer"
    (inner / "headrace.toml").write_text('[project]\nname = "back"\n')
    assert settings.load(inner).name == "back"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ('[guards]\ninjection = "maybe"', "injection = 'maybe'"),
        ("[guards]\nmax_input = -1", "max_input = -1"),
        ("[guards]\nfence = true", "'fence'"),
        ('[guards]\npolicy = "../rules.toml"', "outside of the project"),
        ('[audit.thresholds]\nattacks = "low"', "attacks = 'low'"),
        ('[audit.risks]\njobs = "none"', "jobs = 'none'"),
        ('[audit.risks.jobs]\nowners = "x"', "'owners'"),
    ],
)
def test_what_guards_and_audits_cannot_use_is_named(tmp_path: Path, written: str, named: str) -> None:
    (tmp_path / "headrace.toml").write_text(written)
    with pytest.raises(SettingsError, match=re.escape(named)):
        settings.load(tmp_path)
