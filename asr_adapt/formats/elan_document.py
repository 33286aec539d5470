"""An ELAN document that is edited: what is not edited stays as it is.

Elements are added where the schema wants them (EAF 2.7 to 3.0), and what ELAN's rules want is kept: annotations of a
tier do not overlap, those of `Included_In` are inside of their parent, ids are unique.
https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
"""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from asr_adapt.artifacts import Draft
from asr_adapt.corpora import provenance
from asr_adapt.errors import InputError
from asr_adapt.storage import open_regular

Constraint = Literal["Included_In", "Symbolic_Association"]
# Children of the root, and of the header, in the order of the schema.
_ORDER = ("LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE", "CONSTRAINT",
          "CONTROLLED_VOCABULARY", "LEXICON_REF", "REF_LINK_SET", "EXTERNAL_REF")  # fmt: skip
_DESCRIPTIONS: dict[Constraint, str] = {  # as ELAN writes them
    "Included_In": "Time alignable annotations within the parent annotation's time interval, gaps are allowed",
    "Symbolic_Association": "1-1 association with a parent annotation",
}
_LANGUAGE = {
    "LANG_ID": "und",
    "LANG_DEF": "http://cdb.iso.org/lg/CDB-00130975-001",
    "LANG_LABEL": "undetermined (und)",
}
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_IDS = ("ANNOTATION_ID", "TIME_SLOT_ID", "CVE_ID")


class ElanDocument:
    """The XML of an .eaf file."""

    def __init__(self, text: bytes | str) -> None:
        ElementTree.register_namespace("xsi", _XSI)
        builder = ElementTree.TreeBuilder(insert_comments=True, insert_pis=True)
        self._root = ElementTree.fromstring(text, parser=ElementTree.XMLParser(target=builder))
        self._ids = {id for element in self._root.iter() for name in _IDS if (id := element.get(name))}
        self._counts: dict[str, int] = {}
        self._new_slots: list[ElementTree.Element] = []

    @classmethod
    def read(cls, path: Path) -> "ElanDocument":
        """Return the document in a file that `readers.elan` reads: one that is ELAN's, without entities.

        Raises:
            InputError: HEADER or TIME_ORDER is missing.
        """
        with open_regular(path) as file:
            document = cls(file.read())
        if document._root.find("HEADER") is None or document._root.find("TIME_ORDER") is None:
            raise InputError("cannot be edited: HEADER or TIME_ORDER is missing", place=path)
        return document

    def text(self) -> str:
        """Return the file's content."""
        self._place_new_slots()
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(self._root, "unicode") + "\n"

    @property
    def tier_names(self) -> set[str]:
        """The names of all tiers."""
        return {tier.get("TIER_ID", "") for tier in self._root.findall("TIER")}

    def tier_attributes(self, name: str) -> dict[str, str]:
        """Return the attributes of a tier."""
        return dict(self._tier(name).attrib)

    def constraint(self, tier: str) -> str | None:
        """Return how a tier depends on the one above it; None: it does not."""
        kind = self._tier(tier).get("LINGUISTIC_TYPE_REF")
        types = self._root.findall("LINGUISTIC_TYPE")
        return next((t.get("CONSTRAINTS") for t in types if t.get("LINGUISTIC_TYPE_ID") == kind), None)

    def alignable_above(self, tier: str) -> str:
        """Return the nearest tier at or above a tier whose annotations have times of their own."""
        seen = [tier]
        while (self.constraint(seen[-1]) or "").startswith("Symbolic"):
            above = self._tier(seen[-1]).get("PARENT_REF", "")
            if above in seen or above not in self.tier_names:
                break
            seen.append(above)
        return seen[-1]

    def children(self, tier: str) -> list[str]:
        """Return the tiers directly below a tier."""
        return [t.get("TIER_ID", "") for t in self._root.findall("TIER") if t.get("PARENT_REF") == tier]

    def set_draft(self, draft: Draft) -> None:
        """Keep what a model wrote, in the header, and what ELAN needs to go on counting."""
        self._set_property(provenance.PROPERTY, draft.model_dump_json(exclude_none=True))
        numbers = [int(id[1:]) for id in self._ids if re.fullmatch(r"a\d{1,18}", id)]
        self._set_property("lastUsedAnnotationId", str(max([*numbers, self._last_used])))

    def unused_name(self, name: str) -> str:
        """Return a name that no tier has: `name`, else `name 2` and so on."""
        return _unused(name, self.tier_names)

    def add_type(self, name: str, constraint: Constraint | None = None, vocabulary: str | None = None) -> str:
        """Return a linguistic type of these properties, which is added if there is none of this name.

        Args:
            name: Its name; where another type has it, it gets a number.
            constraint: How its tiers depend on those above; None: they do not.
            vocabulary: Name of a controlled vocabulary.
        """
        wanted = {"CONSTRAINTS": constraint, "CONTROLLED_VOCABULARY_REF": vocabulary}
        types = {t.get("LINGUISTIC_TYPE_ID", ""): t for t in self._root.findall("LINGUISTIC_TYPE")}
        alike = [
            id
            for id, t in types.items()
            if re.fullmatch(rf"{re.escape(name)}( \d+)?", id)
            and all(t.get(key) == value for key, value in wanted.items())
        ]
        if alike:
            return name if name in alike else alike[0]
        name = _unused(name, types)
        fields = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": name}
        fields["TIME_ALIGNABLE"] = "false" if constraint == "Symbolic_Association" else "true"
        self._add("LINGUISTIC_TYPE", fields | {key: value for key, value in wanted.items() if value})
        if constraint and not any(c.get("STEREOTYPE") == constraint for c in self._root.findall("CONSTRAINT")):
            self._add("CONSTRAINT", {"DESCRIPTION": _DESCRIPTIONS[constraint], "STEREOTYPE": constraint})
        return name

    def add_vocabulary(self, name: str, entries: dict[str, str]) -> str:
        """Return the name of a controlled vocabulary of these entries (value → description), added if need be."""
        for known in self._root.findall("CONTROLLED_VOCABULARY"):
            values = {v.text for v in known.iter("CVE_VALUE")} | {e.text for e in known.iter("CV_ENTRY")}
            if known.get("CV_ID", "").startswith(name) and {*entries} <= values:
                return known.get("CV_ID", "")
        name = _unused(name, {v.get("CV_ID") for v in self._root.findall("CONTROLLED_VOCABULARY")})
        if self._format < (2, 8):
            vocabulary = self._add("CONTROLLED_VOCABULARY", {"CV_ID": name, "DESCRIPTION": ""})
            for value, description in entries.items():
                ElementTree.SubElement(vocabulary, "CV_ENTRY", {"DESCRIPTION": description}).text = value
            return name
        if not any(known.get("LANG_ID") == "und" for known in self._root.findall("LANGUAGE")):
            self._add("LANGUAGE", _LANGUAGE)
        vocabulary = self._add("CONTROLLED_VOCABULARY", {"CV_ID": name})
        ElementTree.SubElement(vocabulary, "DESCRIPTION", {"LANG_REF": "und"})
        for value, description in entries.items():
            entry = ElementTree.SubElement(vocabulary, "CV_ENTRY_ML", {"CVE_ID": self._new_id(f"cveid_{value}_")})
            fields = {"DESCRIPTION": description, "LANG_REF": "und"}
            ElementTree.SubElement(entry, "CVE_VALUE", fields).text = value
        return name

    def add_tier(
        self,
        name: str,
        kind: str,
        *,
        like: str | None = None,
        above: str | None = None,
        participant: str | None = None,
    ) -> str:
        """Add a tier, and return its name, which has a number where it is taken.

        Args:
            name: Its name.
            kind: Its linguistic type.
            like: A tier whose participant, language and locale it has, and behind which it is.
            above: The tier that it depends on.
            participant: Whose tier it is, where no other says it.
        """
        name = self.unused_name(name)
        fields = {"LINGUISTIC_TYPE_REF": kind, "TIER_ID": name}
        if like is not None:
            of = self._tier(like).attrib
            fields |= {key: of[key] for key in ("PARTICIPANT", "DEFAULT_LOCALE", "LANG_REF") if key in of}
        if participant:
            fields["PARTICIPANT"] = participant
        if above is not None:
            fields["PARENT_REF"] = above
        tier = ElementTree.Element("TIER", fields)
        if like is None:
            self._insert(tier)
        else:
            behind = self._tier(like)
            self._root.insert([*self._root].index(behind) + 1, tier)
            tier.tail = behind.tail
        return name

    def add(self, tier: str, spans: Iterable[tuple[int, int, str]]) -> list[str]:
        """Add annotations to a tier with times, and return their ids.

        Args:
            tier: The tier's name.
            spans: `(start_ms, end_ms, text)`, none of them overlapping another one of the tier.
        """
        added = []
        home = self._tier(tier)
        for start_ms, end_ms, text in spans:
            id = self._new_id("a")
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(home, "ANNOTATION"), "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": id}
            )
            annotation.set("TIME_SLOT_REF1", self._new_slot(start_ms))
            annotation.set("TIME_SLOT_REF2", self._new_slot(end_ms))
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = text
            added.append(id)
        return added

    def refer(self, tier: str, references: Iterable[tuple[str, str]]) -> list[str]:
        """Add annotations to a tier whose annotations have those of another tier; return their ids.

        Args:
            tier: The tier's name.
            references: `(id of the annotation above, text)`.
        """
        added = []
        home = self._tier(tier)
        for above, text in references:
            id = self._new_id("a")
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(home, "ANNOTATION"),
                "REF_ANNOTATION",
                {"ANNOTATION_ID": id, "ANNOTATION_REF": above},
            )
            entry = self._entry_of(tier, text)
            if entry is not None:
                annotation.set("CVE_REF", entry)
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = text
            added.append(id)
        return added

    def set_text(self, texts: dict[str, str]) -> None:
        """Set the texts of annotations, by id."""
        for annotation in self._annotations(texts):
            value = annotation.find("ANNOTATION_VALUE")
            assert value is not None
            value.text = texts[annotation.get("ANNOTATION_ID", "")]

    def remove(self, ids: Collection[str]) -> None:
        """Remove annotations, and the time slots that nothing else uses."""
        freed: set[str] = set()
        for tier in self._root.findall("TIER"):
            gone = {id(holder) for holder in tier for a in holder if a.get("ANNOTATION_ID") in ids}
            freed |= {slot for holder in tier if id(holder) in gone for a in holder for slot in _slots(a)}
            if gone:
                tier[:] = [holder for holder in tier if id(holder) not in gone]
        freed -= {slot for a in self._root.iter("ALIGNABLE_ANNOTATION") for slot in _slots(a)}
        order = self._find("TIME_ORDER")
        order[:] = [slot for slot in order if slot.get("TIME_SLOT_ID") not in freed]

    def _place_new_slots(self) -> None:
        """Put the time slots that were added into the order of time; those that were there keep theirs."""
        order = self._find("TIME_ORDER")
        waiting = sorted(self._new_slots, key=_time_ms, reverse=True)
        placed: list[ElementTree.Element] = []
        for slot in order:
            if slot.get("TIME_VALUE"):
                while waiting and _time_ms(waiting[-1]) < _time_ms(slot):
                    placed.append(waiting.pop())
            placed.append(slot)
        order[:] = [*placed, *reversed(waiting)]
        self._new_slots = []

    @property
    def _format(self) -> tuple[int, ...]:
        numbers = re.findall(r"\d{1,4}", self._root.get("FORMAT") or self._root.get("VERSION") or "")
        return tuple(map(int, numbers)) or (3, 0)

    def _find(self, tag: str) -> ElementTree.Element:
        found = self._root.find(tag)
        assert found is not None
        return found

    def _tier(self, name: str) -> ElementTree.Element:
        return next(tier for tier in self._root.findall("TIER") if tier.get("TIER_ID") == name)

    def _annotations(self, ids: Collection[str]) -> list[ElementTree.Element]:
        found = (*self._root.iter("ALIGNABLE_ANNOTATION"), *self._root.iter("REF_ANNOTATION"))
        return [annotation for annotation in found if annotation.get("ANNOTATION_ID") in ids]

    def _property(self, name: str) -> ElementTree.Element | None:
        return next((p for p in self._find("HEADER").findall("PROPERTY") if p.get("NAME") == name), None)

    def _set_property(self, name: str, text: str) -> None:
        found = self._property(name)
        if found is None:
            found = ElementTree.SubElement(self._find("HEADER"), "PROPERTY", {"NAME": name})
        found.text = text

    def _add(self, tag: str, attributes: dict[str, str]) -> ElementTree.Element:
        element = ElementTree.Element(tag, attributes)
        self._insert(element)
        return element

    def _insert(self, element: ElementTree.Element) -> None:
        """Put a child of the root behind those that the schema wants before it."""
        before = _ORDER[: _ORDER.index(element.tag) + 1]
        places = [number for number, child in enumerate(self._root, start=1) if child.tag in before]
        self._root.insert(max(places, default=0), element)

    def _entry_of(self, tier: str, value: str) -> str | None:
        """Return the id of the entry of a tier's controlled vocabulary that has this value."""
        kind = self._tier(tier).get("LINGUISTIC_TYPE_REF")
        names = {t.get("CONTROLLED_VOCABULARY_REF") for t in self._root.findall("LINGUISTIC_TYPE")
                 if t.get("LINGUISTIC_TYPE_ID") == kind}  # fmt: skip
        for vocabulary in self._root.findall("CONTROLLED_VOCABULARY"):
            if vocabulary.get("CV_ID") in names:
                for entry in vocabulary.findall("CV_ENTRY_ML"):
                    if any(v.text == value for v in entry.findall("CVE_VALUE")):
                        return entry.get("CVE_ID")
        return None

    def _new_id(self, prefix: str) -> str:
        if prefix not in self._counts:
            taken = [id[len(prefix) :] for id in self._ids if id.startswith(prefix)]
            numbers = [int(rest) for rest in taken if re.fullmatch(r"\d{1,18}", rest)]
            self._counts[prefix] = max([*numbers, self._last_used if prefix == "a" else 0])
        self._counts[prefix] += 1
        id = f"{prefix}{self._counts[prefix]}"
        self._ids.add(id)
        return id

    @property
    def _last_used(self) -> int:
        """The number of the last annotation that ELAN made; it may be deleted by now."""
        found = self._property("lastUsedAnnotationId")
        text = (found.text or "") if found is not None else ""
        return int(text) if re.fullmatch(r"\d{1,18}", text) else 0

    def _new_slot(self, time_ms: int) -> str:
        id = self._new_id("ts")
        slot = ElementTree.Element("TIME_SLOT", {"TIME_SLOT_ID": id, "TIME_VALUE": str(time_ms)})
        self._new_slots.append(slot)
        return id


def _slots(annotation: ElementTree.Element) -> list[str]:
    return [slot for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2") if (slot := annotation.get(key))]


def _time_ms(slot: ElementTree.Element) -> int:
    return int(slot.get("TIME_VALUE", "0"))


def _unused(name: str, taken: Collection[str | None]) -> str:
    candidates = (f"{name} {number}" for number in itertools.count(2))
    return next(n for n in itertools.chain([name], candidates) if n not in taken)
