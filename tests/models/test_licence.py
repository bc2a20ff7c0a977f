"""Licences: what identifiers mean, and the gate before something leaves the house."""

from __future__ import annotations

import pytest

from headrace.errors import InputError, Refused
from headrace.models import licence
from headrace.models.licence import Used, check, demanded, known, read, why_not


@pytest.mark.parametrize(
    ("stated", "id", "kind", "commercial"),
    [
        ("apache-2.0", "apache-2.0", "permissive", "yes"),
        ("Apache 2.0", "apache-2.0", "permissive", "yes"),
        ("license:mit", "mit", "permissive", "yes"),
        ("cc-by-sa-4.0", "cc-by-sa-4.0", "copyleft", "yes"),
        ("llama3.1", "llama3.1", "conditional", "conditions"),
        ("cc-by-nc-4.0", "cc-by-nc-4.0", "non-commercial", "no"),
        ("my-NC-licence", "my-nc-licence", "non-commercial", "no"),
        ("acme-non-commercial", "acme-non-commercial", "non-commercial", "no"),
        ("other", "other", "unknown", "unknown"),
        ("sync-license", "sync-license", "unknown", "unknown"),
        (None, "", "unknown", "unknown"),
        ([], "", "unknown", "unknown"),
        (["mit", "cc-by-nc-4.0"], "cc-by-nc-4.0", "non-commercial", "no"),
        (["mit", "made-up"], "made-up", "unknown", "unknown"),
    ],
)
def test_what_is_stated_is_read(stated: object, id: str, kind: str, commercial: str) -> None:
    found = read(stated)
    assert (found.id, found.kind, found.commercial) == (id, kind, commercial)
    assert found.said


def test_the_table_agrees_with_itself() -> None:
    for each in known():
        assert read(each.id) == each
        assert (each.kind == "non-commercial") == (each.commercial == "no")
        assert ("-nc" in each.id) <= (each.commercial == "no")
        assert (why_not(each, "permissive") is None) == (each.kind == "permissive")


def test_demands() -> None:
    assert demanded(" Permissive ") == "permissive"
    assert demanded("apache-2.0, MIT") == {"apache-2.0", "mit"}
    for wrong in ("", "apache-2.0,made-up", "free"):
        with pytest.raises(InputError, match="names no licence"):
            demanded(wrong)
    assert why_not(read("gpl-3.0"), demanded("mit")) == "licence gpl-3.0, not mit"
    assert why_not(licence.UNKNOWN, "any") is None
    assert "unknown" in str(why_not(licence.UNKNOWN, "commercial"))


def test_a_non_commercial_part_blocks_and_is_named() -> None:
    parts = [Used(name="base", licence=read("mit")), Used(name="data", licence=read("cc-by-nc-4.0"))]
    with pytest.raises(Refused, match=r"forbids this export: data: licence cc-by-nc-4\.0") as caught:
        check(parts, purpose="export")
    assert caught.value.exit_code == 3
    with pytest.raises(Refused):
        check(parts, override="   ")
    done = check(parts, override="we hold a licence of our own")
    assert done.verdict == "overridden"
    assert "we hold a licence" in done.why
    assert "data" in done.why


def test_an_unknown_part_is_said_and_strict_demands_refuse_it() -> None:
    parts = [Used(name="base", licence=licence.UNKNOWN)]
    assert check(parts).verdict == "unknown"
    assert check(parts, demand="any").verdict == "pass"
    for demand in ("permissive", "mit"):
        with pytest.raises(Refused, match="base: licence"):
            check(parts, demand=demand)
    assert check([Used(name="base", licence=read("gemma"))]).verdict == "pass"
    assert check([]).verdict == "pass"
