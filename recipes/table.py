"""The table of the recipes, made from the recipes.

    python recipes/table.py > recipes/README.md

A row holds what a script says itself: the first line of its docstring, the WER of its "To beat" paragraph, and the
fields of its RECIPE.
"""

import re
import runpy
from pathlib import Path

HERE = Path(__file__).parent
HEAD = """# Recipes

One script a language. Each one's docstring describes the corpus, its licence and where it comes from, the orthography
and what the `text` fields do about it, the base model with the reason, and the published WER to beat with its source.

```
python recipes/breton.py --corpus.root cv-corpus-27.0-2026-09-11/br --out runs/breton
```

- **Corpora.** [docs/corpora.md](../docs/corpora.md) has the formats that are read; a docstring says where a corpus
  has to be brought to one of them.
- **Common Voice.** Hours are those of the release that the docstring names; hours of train are clips times the mean
  length of all clips. Each release draws its splits anew.
- **To beat.** Published figures, each with its own normaliser, some with a language model, and on Common Voice of an
  older release's test: a mark to aim at, not a comparison. `–`: none is given.
- **Speakers.** CLDR is the Unicode locale data's count, second languages included (as github.com/rspeer/language_data
  has it).
- Only Mboshi has been trained here (docs/results.md).
- **The embedded base models** are made in [pretrain/](pretrain/README.md).

This file is the output of `python recipes/table.py`.
"""


def scripts() -> list[Path]:
    """Return the recipe scripts, in the order of their names."""
    return sorted(path for path in HERE.glob("*.py") if path.name != Path(__file__).name)


def row(script: Path) -> tuple[str, ...]:
    """Return a recipe's cells: script, language, where and who, to beat, text fields, base model, licence."""
    module = runpy.run_path(str(script))
    recipe, lines = module["RECIPE"], module["__doc__"]
    name, tag, rest = re.fullmatch(r"(.+) \(([\w-]+)\): (.+)\.", lines.splitlines()[0]).groups()
    if tag != recipe.language:
        raise ValueError(f"{script}: the docstring says '{tag}', the recipe '{recipe.language}'")
    to_beat = re.search(r"^To beat: WER (\.\d+)", lines, re.MULTILINE)
    fields = ", ".join(f"`{field}`" for field in sorted(recipe.text.model_fields_set))
    base = recipe.model.base.removeprefix("facebook/")
    figure = to_beat[1] if to_beat else "–"
    return f"[{script.stem}]({script.name})", name, f"`{tag}`", rest, figure, fields, base, recipe.corpus.licence


def table() -> str:
    """Return recipes/README.md."""
    head = ("recipe", "language", "tag", "who and where", "WER to beat", "text fields", "base", "corpus's licence")
    rows = [head, ("---",) * len(head), *map(row, scripts())]
    return HEAD + "\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
