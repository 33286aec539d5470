"""Finds markup in transcripts, and proposes the `text` fields that keep it from being learned as speech."""

import html
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from asr_adapt.recipe import Text
from asr_adapt.text import praat
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.text.spans import is_bracket_pair

_PAIRS = ("[]", "()", "{}", "<>", "［］", "（）", "【】", "〔〕", "⟨⟩")
_BRACKETED = regex.compile(
    "|".join(rf"{o}[^{o}{c}]*{c}" for o, c in (map(regex.escape, pair) for pair in _PAIRS)), regex.V0
)
_UNPAIRED = regex.compile("[" + "".join(map(regex.escape, "".join(_PAIRS[0:1] + _PAIRS[2:]))) + "]")
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}'’]+")
_LETTER = regex.compile(r"[\p{L}\p{M}]")

# What transcribers write for speech that nobody understood, alone in brackets.
_UNCLEAR_WORDS = regex.compile(
    r"(?i)(?:unclear|inaudible|unintelligible|indistinct|incomprehensible|unknown|unk|x{2,}|y{3}|inintelligible|"
    r"incompréhensible|incompris|ininteligible|incomprensible|ininteligível|incompreensível|inaudível|inaudible|"
    r"unverständlich|onverstaanbaar|неразборчиво|нрзб|непонятно|unclear speech|not clear|[?\s]*\?[?\s]*)"
)
# Events, by the beginnings of their words, in languages that transcription conventions are written in.
_EVENT = regex.compile(
    r"(?i)\W*(?:noise|nois|laugh|lach|cough|breath|inhal|exhal|sigh|sniff|music|silen|pause|click|cry|cries|sneez|throat|"
    r"applau|clap|background|bkg|overlap|crosstalk|beep|ring|phone|hesitat|filler|fill|spn|nsn|sil\b|hes\b|vocal|"
    r"mouth|lip|yawn|whistl|sing|child|bird|dog|door|wind|mic|tape|recording|interrupt|foreign|prolong|shout|whisper|"
    r"rire|bruit|toux|soupir|respir|musique|risa|ruido|tos\b|suspiro|música|riso|ruído|tosse|"
    r"geräusch|husten|atm|musik|gelach|смех|кашель|шум|вздох|музыка|пауза)"
)
_TAG = regex.compile(r"/?(?:b|i|u|em|strong|br|p|s|v|c|font|span|ruby|rt|sub|sup)(?:[\s./].*)?", regex.IGNORECASE)
_TIME = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,3})?"
_TIMES = regex.compile(rf"(?<![\d:.,]){_TIME}(?![\d:])|\x15\d+_\d+\x15")
_TIME_DROP = rf"/(?<![\d:.,]){_TIME}(?![\d:])/"
_BULLET_DROP = r"/\x15\d+_\d+\x15/"
_CHAT = {
    r"/&[=+~*]\S+/": regex.compile(r"(?<!\S)&[=+~*]\S+"),
    r"/(?<=\p{L}{2})@[a-z]{1,3}(?::[a-z]+)?(?![\w.])/": regex.compile(
        r"(?<=\p{L}{2})@[a-z]{1,3}(?::[a-z]+)?(?![\w.])"
    ),
}
_BARE_UNCLEAR = regex.compile(
    r"(?i:(?<![\p{L}\p{M}\p{N}])(?:x{3,}|y{3}|w{3})(?![\p{L}\p{M}\p{N}]))|(?<![\p{L}\p{M}\p{N}])UNK(?![\p{L}\p{M}\p{N}])"
    r"|\*{2,}|\?{3,}|_{3,}"
)
_EMPTY_GUESS = regex.compile(r"\(\(\s*\)\)")  # where a guess in double brackets would be, of LDC's conventions
_LAUGHS = regex.compile(r"(?<!\S)@{2,}(?!\S)")
_ENTITY = regex.compile(r"&(?:[a-z]{2,6}|#\d{2,6}|#x[0-9a-fA-F]{2,6});")
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_FOOTNOTE = regex.compile(rf"(?<=[\p{{L}}\p{{M}}\p{{P}}])[{_SUPERSCRIPTS}]+(?![\p{{L}}\p{{M}}\p{{N}}])")
_FOOTNOTE_DROP = rf"/(?<=[\p{{L}}\p{{M}}\p{{P}}])[{_SUPERSCRIPTS}]+(?![\p{{L}}\p{{M}}\p{{N}}])/"
_PLAIN_FOOTNOTE = regex.compile(r"(?<=\p{L}{2})\d{1,3}(?![\p{L}\p{M}\p{N}])")
_PLAIN_FOOTNOTE_DROP = r"/(?<=\p{L}{2})\d{1,3}(?![\p{L}\p{M}\p{N}])/"
_LABEL = regex.compile(r"(?<!\S)[*>]?([\p{Lu}][\p{L}\p{N}_.-]{0,15}(?: \p{N}{1,3})?):(?=\s|$)")
_SHORT_LABEL = regex.compile(
    r"[\p{Lu}\p{N}]{1,4}|(?i:s|spk|sp|speaker|interviewer|int|informant|consultant)[_ .-]?\d*"
)
# Numbers after words are footnotes where few words have one; orthographies write tones so.
_FEW = 0.1
_SEVERAL = 3  # utterances that begin alike, from which on a capitalised word with a colon is a speaker
# What any markup holds; texts without are passed over.
_SUSPECT = regex.compile(r"[\[\](){}<>［］（）【】〔〕⟨⟩*@&\\:_?\x15⁰¹²³⁴-⁹\d]|(?i:xxx|yyy|www)|UNK")

KINDS = ("unclear", "annotations", "chat_codes", "praat_codes", "speaker_prefixes", "timestamps", "footnotes",
         "entities", "bracketed_speech", "unclosed_brackets")  # fmt: skip


@dataclass(frozen=True)
class Found:
    """One kind of markup in transcripts."""

    kind: str
    """one of `KINDS`"""
    spans: tuple[tuple[str, int], ...]
    """the spans as they are written, with their counts, the most frequent first"""
    texts: tuple[tuple[int, str], ...]
    """`(index, first span)` of each transcript that has one"""

    def examples(self, most: int = 5) -> str:
        """Return the most frequent spans with their counts."""
        shown = ", ".join(f"{span!r} × {count:,}" for span, count in self.spans[:most])
        return shown + (f" and {len(self.spans) - most:,} more" if len(self.spans) > most else "")


@dataclass(frozen=True)
class Markup:
    """The markup of a corpus that its recipe does not handle yet."""

    found: tuple[Found, ...]
    drop: tuple[str, ...]
    """entries for `text.drop`"""
    unclear: tuple[str, ...]
    """entries for `text.unclear`"""
    replace: tuple[tuple[str, str], ...]
    """entries for `text.replace`: Praat's codes and HTML entities"""

    def applied(self, rules: Text) -> Text:
        """Return the text rules with the proposed entries added; what they replace takes precedence."""
        own = {key.casefold(): value for key, value in rules.replace.items()}
        return rules.model_copy(
            update={
                "drop": (*rules.drop, *(entry for entry in self.drop if entry not in rules.drop)),
                "unclear": (*rules.unclear, *(entry for entry in self.unclear if entry not in rules.unclear)),
                "replace": {key: own.get(new.casefold(), new) for key, new in self.replace} | rules.replace,
            }
        )

    def cleaned(self, text: str, normalise: Normaliser) -> str:
        """Return a transcript without markup and invisible characters, in NFC; case and punctuation stay.

        Args:
            text: The transcript as it is.
            normalise: By the text rules of `applied`.
        """
        visible = normalise.visible(text)
        bare = normalise.without_markup(text)
        for code, letters in self.replace:
            bare = bare.replace(code, letters)
        return visible if bare == visible else unicodedata.normalize("NFC", " ".join(bare.split()))

    def describe(self) -> str:
        """Return the kinds of markup with examples, on one line."""
        return "Markup in the transcripts: " + "; ".join(kind.examples(3) for kind in self.found) + "."

    def fields(self) -> str:
        """Return the proposed entries as options of a command, for a remedy; empty where there are none."""
        parts = []
        if self.drop:
            parts.append(f"text.drop = {list(self.drop)}")
        if self.unclear:
            parts.append(f"text.unclear = {list(self.unclear)}")
        if self.replace:
            parts.append(f"text.replace = {dict(self.replace)}")
        return "; ".join(parts)


def find(texts: Sequence[str], rules: Text, language: str) -> Markup:
    """Return the markup in transcripts that `rules` neither drop nor mark as unclear, with entries that would.

    Brackets may hold speech too (`(be)cause`, overlaps): a bracketed span counts as an annotation if it is a known
    word for an event, or if most of its words occur nowhere outside of brackets in the corpus. A bracket pair is
    proposed as a whole where all its spans are annotations, else each annotation on its own.

    Args:
        texts: Transcripts as they are.
        rules: The recipe's text rules, which are applied first.
        language: BCP-47 tag.
    """
    search = _Search(Normaliser(rules, language), rules)
    search.read(texts)
    return search.result(len(texts))


class _Search:
    """What `find` collects."""

    def __init__(self, normalise: Normaliser, rules: Text) -> None:
        self.normalise = normalise
        self.replaced = {*rules.replace}
        self.spans: dict[str, Counter[str]] = defaultdict(Counter)
        self.places: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.drop: dict[str, None] = {}
        self.unclear: dict[str, None] = {}
        self.replace: dict[str, str] = {}

    def read(self, texts: Sequence[str]) -> None:
        suspects = []
        for index, text in enumerate(texts):
            if _SUSPECT.search(text) and self.normalise.unclear(text) is None:
                suspects.append((index, self.normalise.without_markup(text)))
        verdicts = self._verdicts(texts, suspects)
        self._propose_brackets(verdicts)
        labels: dict[str, list[int]] = defaultdict(list)
        numbered: list[tuple[int, list[str], str]] = []
        for index, text in suspects:
            plain = self._brackets(index, text, verdicts)
            self._plain(index, plain)
            for label in dict.fromkeys(_LABEL.findall(plain)):
                labels[label].append(index)
            for pattern, entry in ((_FOOTNOTE, _FOOTNOTE_DROP), (_PLAIN_FOOTNOTE, _PLAIN_FOOTNOTE_DROP)):
                if marks := pattern.findall(plain):
                    numbered.append((index, marks, entry))
        self._labels(labels)
        words = sum(text.count(" ") + 1 for text in texts)
        for entry in (_FOOTNOTE_DROP, _PLAIN_FOOTNOTE_DROP):
            of_entry = [(index, marks) for index, marks, other in numbered if other == entry]
            if of_entry and sum(len(marks) for _, marks in of_entry) < _FEW * words:
                self.drop[entry] = None
                for index, marks in of_entry:
                    self._note("footnotes", index, marks)

    def _verdicts(self, texts: Sequence[str], suspects: Sequence[tuple[int, str]]) -> dict[str, str]:
        """Return the kind of each distinct bracketed span; empty where its text matters to nobody."""
        spans: Counter[str] = Counter()
        inside_words: set[str] = set()
        for _, text in suspects:
            for match in _BRACKETED.finditer(text):
                spans[match[0]] += 1
                before, after = text[: match.start()][-1:], text[match.end() :][:1]
                if _LETTER.match(before) or _LETTER.match(after):
                    inside_words.add(match[0])
        if not spans:
            return {}
        bracketed = {word.casefold() for span in spans for word in _WORD.findall(span)}
        outside: set[str] = set()
        for text in texts:
            outside.update(bracketed.intersection(map(str.casefold, _WORD.findall(_BRACKETED.sub(" ", text)))))
        return {span: _verdict(span, span in inside_words, outside) for span in spans}

    def _propose_brackets(self, verdicts: dict[str, str]) -> None:
        dropped = {"annotations", "timestamps", "footnotes"}
        for pair in _PAIRS:
            of_pair = {span: kind for span, kind in verdicts.items() if span[0] == pair[0]}
            self.unclear |= dict.fromkeys(
                sorted({span.casefold() for span, kind in of_pair.items() if kind == "unclear"})
            )
            if not dropped & {*of_pair.values()}:
                continue
            if "bracketed_speech" not in of_pair.values():
                self.drop[pair] = None
                continue
            self.drop |= dict.fromkeys(sorted({span for span, kind in of_pair.items() if kind == "annotations"}))
            for kind, content in (("timestamps", _TIME), ("footnotes", r"\d+")):
                if kind in of_pair.values():
                    self.drop[f"/{regex.escape(pair[0])}{content}{regex.escape(pair[1])}/"] = None

    def _brackets(self, index: int, text: str, verdicts: dict[str, str]) -> str:
        """Note the bracketed spans of a text, and return it without those that are not speech."""
        by_kind: dict[str, list[str]] = defaultdict(list)
        for span in _BRACKETED.findall(text):
            if kind := verdicts[span]:
                by_kind[kind].append(span)
        if guesses := _EMPTY_GUESS.findall(text):
            by_kind["unclear"] += guesses
            self.unclear[f"/{_EMPTY_GUESS.pattern}/"] = None
        for kind, spans in by_kind.items():
            self._note(kind, index, spans)
        return _BRACKETED.sub(
            lambda match: match[0] if verdicts[match[0]] == "bracketed_speech" else " ", text
        ).strip()

    def _plain(self, index: int, text: str) -> None:
        """Note what is not in brackets."""
        if marks := _BARE_UNCLEAR.findall(text):
            self._note("unclear", index, marks)
            self.unclear |= dict.fromkeys(map(_unclear_entry, marks))
        for entry, pattern in _CHAT.items():
            if codes := pattern.findall(text):
                self._note("chat_codes", index, codes)
                self.drop[entry] = None
        if laughs := _LAUGHS.findall(text):
            self._note("annotations", index, laughs)
            self.drop["@@"] = None
        if times := _TIMES.findall(text):
            self._note("timestamps", index, times)
            self.drop |= {_BULLET_DROP if time[0] == "\x15" else _TIME_DROP: None for time in times}
        if codes := [code for code in praat.find(text) if code not in self.replaced]:
            self._note("praat_codes", index, codes)
            self.replace |= {code: praat.codes()[code] for code in codes}
        if entities := [
            entity for entity in _ENTITY.findall(text)
            if entity not in self.replaced and html.unescape(entity) != entity
        ]:  # fmt: skip
            self._note("entities", index, entities)
            self.replace |= {entity: html.unescape(entity).replace("\xa0", " ") for entity in entities}
        unpaired = _BRACKETED.sub(" ", praat.decode(text))  # \c< is č, and no bracket
        if any(_LETTER.search(part) for part in _UNPAIRED.split(unpaired)[1:]):
            self._note("unclosed_brackets", index, _UNPAIRED.findall(unpaired))

    def _labels(self, labels: dict[str, list[int]]) -> None:
        chosen = {
            label: places for label, places in labels.items()
            if _SHORT_LABEL.fullmatch(label) or len(places) >= _SEVERAL
        }  # fmt: skip
        if not chosen:
            return
        by_text: dict[int, list[str]] = defaultdict(list)
        for label, places in chosen.items():
            for index in places:
                by_text[index].append(label + ":")
        for index in sorted(by_text):
            self._note("speaker_prefixes", index, by_text[index])
        self.drop[rf"/(?<!\S)[*>]?(?:{'|'.join(map(regex.escape, sorted(chosen)))}):/"] = None

    def _note(self, kind: str, index: int, spans: Sequence[str]) -> None:
        self.spans[kind].update(spans)
        places = self.places[kind]
        if not places or places[-1][0] != index:
            places.append((index, spans[0]))

    def result(self, texts: int) -> Markup:
        found = tuple(
            Found(kind, tuple(self.spans[kind].most_common()), tuple(self.places[kind]))
            for kind in KINDS if kind in self.spans
        )  # fmt: skip
        pairs = [entry for entry in self.drop if is_bracket_pair(entry)]
        others = [entry for entry in self.drop if not is_bracket_pair(entry)]
        # text.replace works on lower-cased text, where two of Praat's codes may be one: \\tS and \\ts.
        lower = self.normalise.rules.lower
        letters: dict[str, set[str]] = defaultdict(set)
        for code, letter in self.replace.items():
            letters[code.lower() if lower else code].add(letter.lower() if lower else letter)
        replace = tuple(
            (code, letter) for code, letter in sorted(self.replace.items())
            if len(letters[code.lower() if lower else code]) == 1
        )  # fmt: skip
        return Markup(found, (*pairs, *others), tuple(self.unclear), replace)


def _verdict(span: str, inside_word: bool, outside: set[str]) -> str:
    content = span[1:-1].strip()
    words = _WORD.findall(content)
    if _UNCLEAR_WORDS.fullmatch(content):
        return "unclear"
    if _TIMES.fullmatch(content):
        return "timestamps"
    if content.isdigit():
        return "footnotes"
    if not words:  # (.), [//], <>: only signs, which become spaces
        return ""
    if not _LETTER.search(content):  # (1.5): a pause
        return "annotations"
    if _EVENT.match(content) or (span[0] == "<" and _TAG.fullmatch(content)):
        return "annotations"
    if inside_word or 2 * sum(word.casefold() in outside for word in words) >= len(words):
        return "bracketed_speech"
    return "annotations"


def _unclear_entry(mark: str) -> str:
    """Return the entry of `text.unclear` for a mark; a row of signs by the shortest that was meant."""
    if mark[0] in "*?_":
        return mark[0] * (2 if mark[0] == "*" else 3)
    return mark.casefold() if mark != "UNK" else r"/(?<!\w)UNK(?!\w)/"
