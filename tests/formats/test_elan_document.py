"""ELAN documents that are edited: what is added is where the schema wants it, and nothing else changes."""

from pathlib import Path
from xml.etree import ElementTree

import elan_rules
import pytest

from asr_adapt.formats.elan_document import ElanDocument

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT AUTHOR="anna" DATE="2026-01-01T10:00:00+01:00" '
TEXT = (
    HEAD + 'FORMAT="{0}" VERSION="{0}"><HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/><TIME_ORDER>'
    '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="100"/><TIME_SLOT TIME_SLOT_ID="ts2"/>'
    '<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="900"/></TIME_ORDER><!-- kept -->\n'
    '<TIER LINGUISTIC_TYPE_REF="lt" TIER_ID="tx"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a7" '
    'TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE> a &lt; b &#10; </ANNOTATION_VALUE>'
    '</ALIGNABLE_ANNOTATION></ANNOTATION><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a8" TIME_SLOT_REF1="ts2" '
    'TIME_SLOT_REF2="ts3"><ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>'
    '<LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="lt" TIME_ALIGNABLE="true"/>'
    '<LOCALE LANGUAGE_CODE="en"/></ANNOTATION_DOCUMENT>'
)


def drafted(text: str) -> ElanDocument:
    document = ElanDocument(text)
    vocabulary = document.add_vocabulary("status", {"check": "unsure", "ok": "right"})
    tier = document.add_tier("tx", "lt", like="tx")
    status = document.add_tier(
        "status", document.add_type("status", "Symbolic_Association", vocabulary), like=tier, above=tier
    )
    words = document.add_tier("words", document.add_type("words", "Included_In"), like=tier, above=tier)
    (first, _) = document.add(tier, [(50, 500, "one"), (500, 950, "two")])
    document.add(words, [(60, 100, "one")])
    document.refer(status, [(first, "check")])
    return document


@pytest.mark.parametrize("version", ["2.7", "2.8", "3.0"])
def test_additions_fit_the_format_of_the_document(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.eaf"
    path.write_text(drafted(TEXT.format(version)).text(), "utf-8")
    elan_rules.check(path)
    root = ElementTree.parse(path).getroot()
    entries = {"2.7": "CV_ENTRY"}.get(version, "CV_ENTRY_ML")
    assert len([*root.iter(entries)]) == 2 and (root.find("LANGUAGE") is None) == (version == "2.7")
    reference = next(root.iter("REF_ANNOTATION"))
    assert (reference.get("CVE_REF") is None) == (version == "2.7")
    assert [s.get("TIME_SLOT_ID") for s in root.iter("TIME_SLOT")][:3] == ["ts4", "ts8", "ts1"]
    assert "<!-- kept -->" in path.read_text("utf-8")
    (tier,) = (t for t in root.iter("TIER") if t.get("TIER_ID") == "tx")
    assert tier[0][0].findtext("ANNOTATION_VALUE") == " a < b \n "


def test_types_and_vocabularies_are_added_once_and_names_never_taken_twice() -> None:
    document = drafted(TEXT.format("3.0"))
    assert document.add_vocabulary("status", {"ok": "right"}) == "status"
    assert document.add_type("words", "Included_In") == "words"
    assert document.add_type("words") == "words 2" == document.add_type("words")
    assert document.add_tier("tx", "lt") == "tx 3"


def test_what_is_removed_takes_only_the_slots_that_nothing_else_uses(tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    path.write_text(drafted(TEXT.format("3.0")).text(), "utf-8")
    document = ElanDocument.read(path)
    document.remove({"a8"})
    root = ElementTree.fromstring(document.text())
    slots = [s.get("TIME_SLOT_ID") for s in root.iter("TIME_SLOT")]
    assert "ts2" in slots and "ts3" not in slots


def test_ids_that_elan_has_used_before_are_not_used_again() -> None:
    text = TEXT.format("3.0").replace("milliseconds\"/>", 'milliseconds"><PROPERTY NAME="lastUsedAnnotationId">90'
                                      "</PROPERTY></HEADER>")  # fmt: skip
    assert ElanDocument(text).add("tx", [(0, 1, "x")]) == ["a91"]
