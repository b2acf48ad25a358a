"""Does a model read what its chat template says, and can a client reach no further than that?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from demarc.frontend import template
from demarc.frontend.template import ChatTemplateError, MessagesRefusedError

NOW = datetime(2026, 11, 24, tzinfo=UTC)
USER = {"role": "user", "content": "hi"}
SECRET = "4111 1111 1111 1111"


def render(source: str, *messages: Any, tools: tuple[Any, ...] = (), **tokens: str) -> str:
    compiled = template.compile_template(source, tokens)
    return compiled.render(messages or (USER,), tools, now=NOW).reveal()


@pytest.mark.parametrize(
    "source,want",
    [
        (
            "{{ bos_token }}{% for m in messages %}{{ m.role + m['content'] }}{% endfor %}",
            "<s>userhi",
        ),
        ("{% if add_generation_prompt %}>{% endif %}", ">"),
        ("{{ tools is none }}", "True"),
        ("{{ strftime_now('%d %b %Y') }}", "24 Nov 2026"),
        ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
        ("{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}", "1"),
        ("{% generation %}x{% endgeneration %}", "x"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ {'a': 1} | tojson(indent=1) }}", '{\n "a": 1\n}'),
        ("{{ '<b>' }}", "<b>"),
        ("{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}", "2"),
    ],
)
def test_the_dialect_of_chat_templates_is_spoken(source: str, want: str) -> None:
    assert want == render(source, bos_token="<s>")


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no ' + messages[0].content) }}",
        "{{ messages[5].content.upper() }}",
        "{{ messages[0].content + 1 }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ range(99999999) | list }}",
        "{{ tojson.__globals__ }}",
    ],
)
def test_what_a_template_may_not_do_is_refused_and_quotes_nothing(source: str) -> None:
    with pytest.raises(MessagesRefusedError) as caught:
        render(source, {"role": "user", "content": SECRET})

    assert "4111" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_content_is_never_read_as_a_template() -> None:
    message = {"role": "user", "content": "{{ 7 * 7 }}{% raw %}"}

    assert "{{ 7 * 7 }}{% raw %}" == render("{{ messages[0].content }}", message)


def test_a_template_that_never_reads_tools_says_so() -> None:
    with_tools = template.compile_template("{% for t in tools %}{{ t | tojson }}{% endfor %}", {})

    assert with_tools.takes_tools
    assert not template.compile_template("{{ messages[0].content }}", {}).takes_tools


def test_a_text_that_is_no_template_is_refused() -> None:
    with pytest.raises(ChatTemplateError):
        template.compile_template("{% for %}", {})
