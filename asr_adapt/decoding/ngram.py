"""An n-gram language model over words: interpolated modified Kneser-Ney, estimated here and written as ARPA.

Chen and Goodman 1998 (An Empirical Study of Smoothing Techniques for Language Modeling, TR-10-98), in the form that
KenLM's `lmplz` gives it (Heafield et al. 2013, ACL P13-2121): its figures are ours to a float's rounding.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
Gram = tuple[str, ...]
# Where a text is so small or so regular that a count of 1 to 4 never occurs: `lmplz --discount_fallback`.
_FALLBACK = (0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class NGram:
    """A back-off model: log10 probabilities, and log10 back-off weights of what can be followed by a word."""

    order: int
    probabilities: dict[Gram, float]
    """of each n-gram seen, its last word after the others; log10"""
    backoffs: dict[Gram, float]
    """weight of the shorter history where a word was never seen after this one; log10"""

    @property
    def vocabulary(self) -> list[str]:
        """The words that it knows."""
        return [gram[0] for gram in self.probabilities if len(gram) == 1 and gram[0] not in {BEGIN, END, UNKNOWN}]

    def log10(self, word: str, history: Sequence[str]) -> float:
        """Return log10 of the probability of a word (or `</s>`) after a history that may begin with `<s>`."""
        known = [w if (w,) in self.probabilities else UNKNOWN for w in history]
        word = word if (word,) in self.probabilities else UNKNOWN
        context = tuple(known[max(0, len(known) - self.order + 1) :])
        weight = 0.0
        while (*context, word) not in self.probabilities:
            weight += self.backoffs.get(context, 0.0)
            context = context[1:]
        return weight + self.probabilities[(*context, word)]

    def sentence_log10(self, sentence: str) -> float:
        """Return log10 of the probability of a whole sentence, its end included."""
        words = [BEGIN, *sentence.split(), END]
        return math.fsum(self.log10(words[i], words[:i]) for i in range(1, len(words)))

    def perplexity(self, sentences: Iterable[str]) -> float:
        """Return the perplexity per word, ends of sentences counted as words.

        Raises:
            ValueError: there is no sentence.
        """
        texts = list(sentences)
        if not texts:
            raise ValueError("the perplexity of no sentences is not defined")
        total = math.fsum(self.sentence_log10(text) for text in texts)
        return float(10 ** (-total / sum(len(text.split()) + 1 for text in texts)))

    def arpa(self) -> Iterator[str]:
        """Yield the lines of an ARPA file (the format of Doug Paul's toolkit, which KenLM and SRILM read)."""
        by_order: dict[int, list[Gram]] = defaultdict(list)
        for gram in self.probabilities:
            by_order[len(gram)].append(gram)
        yield "\\data\\"
        yield from (f"ngram {n}={len(by_order[n])}" for n in range(1, self.order + 1))
        for n in range(1, self.order + 1):
            yield ""
            yield f"\\{n}-grams:"
            for gram in sorted(by_order[n]):
                line = f"{self.probabilities[gram]:.7g}\t{' '.join(gram)}"
                # Every n-gram below the highest order has a weight; 0 where nothing followed it.
                yield line if n == self.order else f"{line}\t{self.backoffs.get(gram, 0.0):.7g}"
        yield ""
        yield "\\end\\"


def estimate(sentences: Iterable[str], order: int) -> NGram:
    """Return the interpolated modified Kneser-Ney model of normalised sentences, whose words are separated by spaces.

    Nothing is pruned. `<unk>` has what the uniform distribution leaves it; `<s>` has probability 1, as in `lmplz`.

    Args:
        sentences: At least one that is not empty.
        order: Words in the longest n-gram, at least 1.

    Raises:
        ValueError: the order is less than 1, or there is no word.
    """
    if order < 1:
        raise ValueError(f"an n-gram has at least one word, but order is {order}")
    counts = _adjusted(_longest_counts(sentences, order), order)
    if not counts[0].keys() - {(BEGIN,), (END,)}:
        raise ValueError("there is no word to learn from")
    seen = [gram[0] for gram in counts[0] if gram != (BEGIN,)]
    probability: dict[Gram, float] = {(): 1 / (len(seen) + 1)}  # uniform over the words, </s> and <unk>
    backoffs: dict[Gram, float] = {}
    for grams in counts:
        discounts = _discounts(grams)
        totals: Counter[Gram] = Counter()
        saved: dict[Gram, float] = defaultdict(float)
        for gram, count in grams.items():
            if gram != (BEGIN,):
                totals[gram[:-1]] += count
                saved[gram[:-1]] += discounts[min(count, 3)]
        weights = {context: saved[context] / total for context, total in totals.items()}
        for gram, count in grams.items():
            context = gram[:-1]
            if gram != (BEGIN,):
                own = (count - discounts[min(count, 3)]) / totals[context]
                probability[gram] = own + weights[context] * probability[gram[1:]]
        if () in weights:
            probability[(UNKNOWN,)] = weights[()] * probability[()]
        backoffs |= weights
    del probability[()], backoffs[()]
    log10 = {gram: math.log10(p) for gram, p in probability.items()} | {(BEGIN,): 0.0}
    return NGram(order, log10, {context: math.log10(weight) for context, weight in backoffs.items()})


def vocabulary(arpa: Path) -> list[str]:
    """Return the words of an ARPA file, without `<s>`, `</s>` and `<unk>`."""
    words = []
    with arpa.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("\\2-grams:"):
                break
            fields = line.rstrip("\n").split("\t")
            if len(fields) > 1 and fields[1] not in {BEGIN, END, UNKNOWN}:
                words.append(fields[1])
    return words


def of_words(words: Iterable[str]) -> NGram:
    """Return the model of a word list, in which each word is as likely as any other, anywhere.

    Raises:
        ValueError: there is no word.
    """
    listed = sorted(set(words))
    if not listed:
        raise ValueError("there is no word to learn from")
    each = -math.log10(len(listed) + 2)  # the words, the end and <unk>
    likely = {(word,): each for word in (*listed, END, UNKNOWN)} | {(BEGIN,): 0.0}
    # KenLM reads no model of order 1: one bigram, of a sentence without words, makes it 2.
    return NGram(2, likely | {(BEGIN, END): each}, {})


def with_words(model: NGram, words: Iterable[str]) -> NGram:
    """Return the model with words that it does not know, which share the probability of `<unk>` with it."""
    new = sorted(set(words) - set(model.vocabulary))
    share = model.probabilities[(UNKNOWN,)] - math.log10(len(new) + 1)
    likely = model.probabilities | {(word,): share for word in (*new, UNKNOWN)}
    return NGram(model.order, likely, model.backoffs)


def _longest_counts(sentences: Iterable[str], order: int) -> Counter[Gram]:
    """Count n-grams of the highest order, and shorter ones that begin a sentence, since nothing precedes them."""
    counts: Counter[Gram] = Counter()
    for sentence in sentences:
        words = (BEGIN, *sentence.split(), END)
        if len(words) > 2:
            counts.update(words[max(0, end - order) : end] for end in range(1, len(words) + 1))
    return counts


def _adjusted(counts: Counter[Gram], order: int) -> list[Counter[Gram]]:
    """Return each order's counts: below the highest, how many different words precede an n-gram.

    One that begins a sentence has its plain count, since nothing but `<s>` comes before it.
    """
    by_order: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for gram, count in counts.items():
        by_order[len(gram) - 1][gram] = count
    for n in range(order - 1, 0, -1):
        for gram in by_order[n]:
            by_order[n - 1][gram[1:]] += 1
    return by_order


def _discounts(grams: Counter[Gram]) -> tuple[float, ...]:
    """Return what is taken from counts of 0, 1, 2 and from 3 on (Chen and Goodman 1998, equation 26)."""
    times = Counter(count for gram, count in grams.items() if gram != (BEGIN,))
    if not all(times[count] for count in (1, 2, 3)):
        return _FALLBACK
    share = times[1] / (times[1] + 2 * times[2])
    found = tuple(k - (k + 1) * share * times[k + 1] / times[k] for k in (1, 2, 3))
    if any(not 0 < discount <= k for k, discount in enumerate(found, start=1)):
        return _FALLBACK
    return (0.0, *found)
