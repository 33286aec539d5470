"""Recipes: fields, files, fingerprints; unknown fields and impossible values are refused by name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from asr_adapt.errors import InputError
from asr_adapt.recipe import (
    Augment,
    Corpus,
    Recipe,
    Text,
    Train,
    fingerprint,
    read_recipe,
    recipe_from,
    refuse_moved_options,
    training_fields,
    write_recipe,
)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"language": "mi", "trian": {}}, r"'trian' is not a recipe field. Known fields: language, corpus"),
        ({"language": "mi", "train": {"stepz": 1}}, r"'train\.stepz' is not a recipe field.*train\.steps"),
        ({"language": "mi", "train": {"steps": 0}}, r"train\.steps: .*greater than or equal to 1, but is 0"),
        (
            {"language": "mi", "model": {"freeze": "all"}},
            r"model\.freeze: .*below:K .*all_but_head, nothing or auto, but is 'all'",
        ),
        ({"language": "mi", "model": {"freeze": "below:0"}}, r"model\.freeze: .*'below:0'"),
        ({"language": "mi", "model": {"freeze": "below:x"}}, r"model\.freeze: .*'below:x'"),
        (
            {"language": "mi", "model": {"freeze": "below:3", "base": "none"}},
            r"below:K and auto require a base model",
        ),
        ({"language": "mi", "model": {"freeze": "auto", "base": "none"}}, r"below:K and auto require a base model"),
        (
            {"language": "mi", "model": {"freeze": "all_but_head"}, "train": {"unfreeze_steps": 5}},
            r"train.unfreeze_steps unfreezes layers: no model.adapter, and no all_but_head",
        ),
        (
            {"language": "mi", "model": {"freeze": "below:3", "adapter": "lora"}},
            r"cannot be combined with model.freeze",
        ),
        (
            {"language": "mi", "train": {"warmup": 0.7, "hold": 0.4}},
            r"train: .*warmup \+ hold must be at most 1, but is 1\.1",
        ),
        ({"language": "mi", "train": {"learning_rate": float("inf")}}, r"train\.learning_rate: .*finite.*inf"),
        ({"language": "mi", "corpus": {"max_duration_s": 0.05}}, r"min_duration_s must be less than .*\(0\.05\)"),
        ({"language": "mi", "model": {"hidden_size": 100}}, r"model\.hidden_size: .*64, but is 100"),
        ({"language": "mi", "corpora": [{"rot": "x"}]}, r"'corpora\.0\.rot' is not a recipe field.*corpora\.0\.root"),
        ({"language": "mi", "train": {"speed": 0.1}}, r"'train\.speed' is now 'augment\.speed'\.$"),
        ({"language": "mi", "augment": {"noise_share": 1}}, r"noise_share requires augment\.noise"),
        ({"language": "mi", "augment": {"sped": 1}}, r"'augment\.sped' is not a recipe field.*augment\.speed"),
        ({"language": "not a tag"}, r"language: .*'not a tag'"),
        ({}, r"'language' is missing"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(fields: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        recipe_from(fields, "x.toml")
    assert str(caught.value).startswith("x.toml: ") and "\n" not in str(caught.value)


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    recipe = Recipe(
        language="tr-Latn",
        corpus=Corpus(root=tmp_path / "a b", licence="CC0"),
        text=Text(replace={"’": "'", '"': ""}, alphabet=("ŋ", "ɛ\u0301"), keep="!"),
        train=Train(learning_rate=1e-4),
    )
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


@pytest.mark.parametrize(
    "odd", ["\u2028", "\n", "\t", '"""', "\\", "''", "\x01", "ɛ\u0301", " ", "#", "=", "[x]", "a.b"]
)
def test_a_replacement_table_of_odd_characters_survives_its_file(tmp_path: Path, odd: str) -> None:
    recipe = Recipe(language="mi", text=Text(replace={odd: "", "a": odd}, keep=odd, alphabet=(odd,)))
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe


def test_augmentation_in_the_train_section_of_an_older_recipe_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('language = "mi"\n[train]\nsteps = 3\nspeed = 0.2\nnoise_snr_db = [1.0, 2.0]\nmask_time = 0.5\n')
    wanted = Recipe(
        language="mi", train=Train(steps=3, mask_time=0.5), augment=Augment(speed=0.2, noise_snr_db=(1, 2))
    )
    assert read_recipe(path) == wanted
    write_recipe(wanted, path)
    assert read_recipe(path) == wanted


def test_augmentation_in_train_is_refused_and_the_new_field_named() -> None:
    with pytest.raises(ValidationError, match=r"'train\.codec_share' is now 'augment\.codec_share'"):
        Train(codec_share=0.5)


@pytest.mark.parametrize("option", [["--train.speed", "0.1"], ["--train.speed=0.1"]])
def test_the_option_of_a_moved_field_is_refused_and_the_new_one_named(option: list[str]) -> None:
    with pytest.raises(InputError, match=r"^command line: '--train\.speed' is now '--augment\.speed'\.$"):
        refuse_moved_options(["--corpus.root", "speed", *option])
    refuse_moved_options(["--augment.speed", "0.1", "--train.steps", "1"])


def test_training_is_fingerprinted_as_in_format_1_which_had_augmentation_in_train() -> None:
    fields = training_fields(Recipe(language="mi", train=Train(steps=3), augment=Augment(speed=0.2)))
    assert fields["steps"] == 3 and fields["speed"] == 0.2
    assert not {"augment", "hours", "checkpoint_minutes", "tensorboard"} & fields.keys()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("language = ")
    with pytest.raises(InputError, match="not TOML"):
        read_recipe(tmp_path / "recipe.toml")


def test_a_fingerprint_is_equal_where_and_only_where_the_fields_are() -> None:
    assert fingerprint(Train(), "x") == fingerprint(Train(), "x")
    assert (
        len({fingerprint(Train()), fingerprint(Train(steps=3)), fingerprint(Train(seed=2)), fingerprint(Text())}) == 4
    )


OTHER: dict[str, Any] = {
    "language": "en", "root": "elsewhere", "licence": "CC0", "min_duration_s": 0.2, "max_duration_s": 20.0,
    "max_train_hours": 1.0, "workers": 3, "lower": False, "keep": "!", "replace": {"a": "b"}, "alphabet": ["x"],
    "units": "code_points", "base": "none", "revision": "main", "freeze": "nothing", "dropout": 0.1,
    "format": "manifest", "ray": "local",
    "split": "train", "subset": "mi_nz", "columns": {"text": "Satz"}, "tiers": ["A"], "splits": "made",
    "copy_audio": False, "drop": ["[]"], "unclear": ["xxx"],
    "pickled_weights": True, "speed": 0.1, "hidden_size": 128, "layers": 2, "precision": "fp32", "tensorboard": True,
    "sampling_temperature": 2.0, "mask_time": 0.2, "mask_features": 0.1, "warmup": 0.2, "hold": 0.3,
    "adapter": "lora", "adapter_language": "mri",
    "gradient_checkpointing": True, "noise": "n", "noise_snr_db": (1.0, 2.0),
    "unlabelled": "u",
    "rooms": "r", "room_share": 0.1, "gain_share": 0.1, "codec_share": 0.1, "audio": False, "names": True,
}  # fmt: skip


def with_another_value(recipe: Recipe, section: str, name: str) -> Recipe:
    fields = recipe.model_dump()
    place = fields[section] if section else fields
    if name == "noise_share":
        place["noise"] = "n"
    if name in OTHER:
        place[name] = OTHER[name]
    else:  # a number: a float may be a share, and None any
        place[name] = place[name] / 2 if place[name] and isinstance(place[name], float) else (place[name] or 0) + 1
    return recipe_from(fields, "here")


def test_a_fingerprint_changes_with_every_field() -> None:
    recipe = Recipe(language="mi")
    sections = {name: type(value) for name, value in recipe if isinstance(value, BaseModel)}
    places = [("", "language")] + [(name, field) for name, kind in sections.items() for field in kind.model_fields]
    found = [fingerprint(with_another_value(recipe, *place)) for place in places]
    assert len(places) > 30
    assert len({*found, fingerprint(recipe)}) == len(places) + 1


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe(language="mi").language = "en"


def test_a_field_that_was_added_later_leaves_the_fingerprint_of_its_default_alone() -> None:
    class Before(BaseModel):
        a: int = 1

    class After(Before):
        b: str | None = Field(default=None, json_schema_extra={"since": 2})

    assert fingerprint(After()) == fingerprint(Before())
    assert fingerprint(After(b="x")) != fingerprint(Before())
    assert fingerprint(After(a=2)) != fingerprint(Before())
