"""ELAN's rules for a document: the constraints of its schema (EAF 2.7 to 3.0), and those of its types of tier."""

import itertools
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

ORDER = ("LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE", "CONSTRAINT",
         "CONTROLLED_VOCABULARY", "LEXICON_REF", "REF_LINK_SET", "EXTERNAL_REF")  # fmt: skip
ATTRIBUTES = {
    "TIER": {"TIER_ID", "PARTICIPANT", "ANNOTATOR", "LINGUISTIC_TYPE_REF", "DEFAULT_LOCALE", "PARENT_REF", "EXT_REF",
             "LANG_REF"},
    "LINGUISTIC_TYPE": {"LINGUISTIC_TYPE_ID", "TIME_ALIGNABLE", "CONSTRAINTS", "GRAPHIC_REFERENCES",
                        "CONTROLLED_VOCABULARY_REF", "EXT_REF", "LEXICON_REF"},
    "ALIGNABLE_ANNOTATION": {"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2", "CVE_REF", "LANG_REF", "EXT_REF"},
    "REF_ANNOTATION": {"ANNOTATION_ID", "ANNOTATION_REF", "PREVIOUS_ANNOTATION", "CVE_REF", "LANG_REF", "EXT_REF"},
    "TIME_SLOT": {"TIME_SLOT_ID", "TIME_VALUE"},
}  # fmt: skip


def check(path: Path) -> None:
    """Fail where a document breaks a rule."""
    root = ElementTree.parse(path).getroot()
    tags = [child.tag for child in root]
    assert tags == sorted(tags, key=ORDER.index), "the order of elements"
    assert tags.count("HEADER") == tags.count("TIME_ORDER") == 1
    header = [child.tag for child in root.find("HEADER")]
    assert header == sorted(header, key=("MEDIA_DESCRIPTOR", "LINKED_FILE_DESCRIPTOR", "PROPERTY").index)
    for tag, allowed in ATTRIBUTES.items():
        assert all({*element.attrib} <= allowed for element in root.iter(tag)), tag
    ids = [e.get(key) for e in root.iter() for key in ("ANNOTATION_ID", "TIME_SLOT_ID", "CVE_ID") if e.get(key)]
    assert not [id for id, count in Counter(ids).items() if count > 1], "ids are unique"
    types = {t.get("LINGUISTIC_TYPE_ID"): t for t in root.findall("LINGUISTIC_TYPE")}
    assert len(types) == tags.count("LINGUISTIC_TYPE")
    stereotypes = {c.get("STEREOTYPE") for c in root.findall("CONSTRAINT")}
    vocabularies = {v.get("CV_ID"): v for v in root.findall("CONTROLLED_VOCABULARY")}
    languages = {language.get("LANG_ID") for language in root.findall("LANGUAGE")}
    for kind in types.values():
        assert kind.get("CONSTRAINTS") is None or kind.get("CONSTRAINTS") in stereotypes
        assert kind.get("CONTROLLED_VOCABULARY_REF") is None or kind.get("CONTROLLED_VOCABULARY_REF") in vocabularies
    assert all(e.get("LANG_REF") in languages | {None} for e in root.iter()), "languages are declared"
    slots = {s.get("TIME_SLOT_ID"): s.get("TIME_VALUE") for s in root.iter("TIME_SLOT")}
    tiers = {tier.get("TIER_ID"): tier for tier in root.findall("TIER")}
    assert len(tiers) == tags.count("TIER"), "names of tiers are unique"
    tier_of = {a.get("ANNOTATION_ID"): name for name, tier in tiers.items() for h in tier for a in h}
    times: dict[str, tuple[int, int]] = {}
    used = set()
    for a in root.iter("ALIGNABLE_ANNOTATION"):
        used |= {a.get("TIME_SLOT_REF1"), a.get("TIME_SLOT_REF2")}
        start, end = slots[a.get("TIME_SLOT_REF1")], slots[a.get("TIME_SLOT_REF2")]
        if start is not None and end is not None:
            assert int(start) < int(end), "annotations last"
            times[a.get("ANNOTATION_ID")] = int(start), int(end)
    assert used == {*slots}, "every slot is used"
    for name, tier in tiers.items():
        constraint = types[tier.get("LINGUISTIC_TYPE_REF")].get("CONSTRAINTS")
        parent = tier.get("PARENT_REF")
        assert (parent is None) == (constraint is None), name
        assert parent is None or parent in tiers
        annotations = [a for holder in tier for a in holder]
        symbolic = (constraint or "").startswith("Symbolic")
        assert all(a.tag == ("REF_ANNOTATION" if symbolic else "ALIGNABLE_ANNOTATION") for a in annotations), name
        if symbolic:
            above = [a.get("ANNOTATION_REF") for a in annotations]
            assert all(tier_of[ref] == parent for ref in above), name
            assert constraint != "Symbolic_Association" or len({*above}) == len(above), f"{name}: one each"
        elif parent is not None:
            assert not (types[tiers[parent].get("LINGUISTIC_TYPE_REF")].get("CONSTRAINTS") or "").startswith("Symb")
            around = [times[a.get("ANNOTATION_ID")] for holder in tiers[parent] for a in holder]
            own = [times[id] for a in annotations if (id := a.get("ANNOTATION_ID")) in times]
            assert all(any(s <= start and end <= e for s, e in around) for start, end in own), f"{name}: inside"
        own = sorted(times[id] for a in annotations if (id := a.get("ANNOTATION_ID")) in times)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(own)), f"{name}: none overlap"
        vocabulary = vocabularies.get(types[tier.get("LINGUISTIC_TYPE_REF")].get("CONTROLLED_VOCABULARY_REF"))
        for a in annotations:
            if entry := a.get("CVE_REF"):
                (found,) = (e for e in vocabulary if e.get("CVE_ID") == entry)
                assert a.findtext("ANNOTATION_VALUE") in {v.text for v in found}
    numbers = [int(id[1:]) for id in tier_of if id[1:].isdigit()]
    last = next((p.text for p in root.iter("PROPERTY") if p.get("NAME") == "lastUsedAnnotationId"), None)
    assert last is None or int(last) >= max(numbers, default=0)
