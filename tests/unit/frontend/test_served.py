"""Is a model folder read as the engine reads it?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from demarc.engines.generation import Prompt
from demarc.frontend import served
from demarc.frontend.served import SamplingDefaults, ServedModel, ServedModelError, TokenCounter
from demarc.local.simulator import folder
from support.frontends import NOW


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder.make(tmp_path, name="m")
    return tmp_path


def read(home: Path) -> ServedModel:
    return served.read_served_model(home, name="m", context_tokens=100)


def change(home: Path, file: str, **values: Any) -> None:
    path = home / file
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**document, **values}))


def counter(*, adds_begin: bool) -> TokenCounter:
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "a": 1, "[UNK]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>"])
    if adds_begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    return TokenCounter(tokenizer)


def test_a_begin_token_of_template_and_tokenizer_is_one_token() -> None:
    both = counter(adds_begin=True)
    prompt = both.without_begin(Prompt("<s>a a"))

    assert ("a a", 3) == (prompt.reveal(), both.prompt(prompt))


def test_a_begin_token_of_the_template_alone_stays() -> None:
    alone = counter(adds_begin=False)
    prompt = alone.without_begin(Prompt("<s>a a"))

    assert ("<s>a a", 3) == (prompt.reveal(), alone.prompt(prompt))


def test_an_answer_is_counted_without_added_tokens() -> None:
    assert 2 == counter(adds_begin=True).answer("a a")


def test_a_chat_template_is_a_file_or_an_entry(home: Path) -> None:
    (home / "chat_template.jinja").unlink()
    with pytest.raises(ServedModelError, match="no chat template"):
        read(home)

    named = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "{{ tools }}"},
    ]
    change(home, "tokenizer_config.json", chat_template="one")
    assert not read(home).template.takes_tools
    change(home, "tokenizer_config.json", chat_template=named)
    assert read(home).template.takes_tools


@pytest.mark.parametrize(
    "config,want",
    [
        ({}, SamplingDefaults()),
        ({"temperature": 0.6, "top_p": 0.95, "top_k": 20}, SamplingDefaults(0.6, 0.95, 20)),
        ({"temperature": None, "top_k": 0, "do_sample": True}, SamplingDefaults()),
    ],
)
def test_sampling_defaults_are_the_model_s(
    home: Path, config: dict[str, Any], want: SamplingDefaults
) -> None:
    (home / "generation_config.json").write_text(json.dumps(config))

    assert want == read(home).defaults


def test_sampling_defaults_may_be_absent(home: Path) -> None:
    (home / "generation_config.json").unlink()

    assert SamplingDefaults() == read(home).defaults


@pytest.mark.parametrize(
    "file,content,want",
    [
        ("tokenizer.json", "{}", "cannot read tokenizer.json"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json is not a JSON object"),
        ("tokenizer_config.json", "{", "cannot read tokenizer_config.json"),
        ("chat_template.jinja", "{% if %}", "chat template is not valid"),
        ("generation_config.json", '{"temperature": "hot"}', "sampling value that is no number"),
    ],
)
def test_a_faulty_file_is_named(home: Path, file: str, content: str, want: str) -> None:
    (home / file).write_text(content)

    with pytest.raises(ServedModelError, match=want):
        read(home)


def test_a_missing_file_is_named(home: Path) -> None:
    (home / "tokenizer_config.json").unlink()

    with pytest.raises(ServedModelError, match=r"has no tokenizer_config\.json"):
        read(home)


def test_special_tokens_are_texts_or_objects(home: Path) -> None:
    (home / "chat_template.jinja").write_text("{{ bos_token }}{{ eos_token }}")
    change(home, "tokenizer_config.json", bos_token={"content": "<b>"}, eos_token="<e>")
    rendered = read(home).template.render(({"role": "user", "content": "x"},), (), now=NOW)

    assert "<b><e>" == rendered.reveal()
