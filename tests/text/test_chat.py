"""Chat templates: as transformers renders them, and never without end."""

import time
from typing import Any

import pytest
from text.samples import Library
from transformers.utils.chat_template_utils import render_jinja_template

from cutaway.text import Tokenizer, chat, sandbox

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": 'Hi <b> & "you"\n', "name": None},
    {"role": "assistant", "content": "Hello!", "tool_calls": None},
    {"role": "user", "content": "Bye 😀"},
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'}}"
    "\n{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STRICT = (
    "{% set rest = messages[1:] if messages[0].role == 'system' else messages %}{% for m in rest %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ bos_token ~ '[INST] ' ~ m.content.strip() ~ ' [/INST]' if m.role == 'user' else m.content + eos_token }}"
    "{% endfor %}"
)
EVERYTHING = """
{%- macro show(m, n=2) -%}
<{{ m.role|upper }}>{{ m['content'] | trim }}{{ m | tojson(indent=n) }}
{%- endmacro -%}
{%- macro twice() %}[{{ caller('in') }}{{ caller('out') }}]{% endmacro -%}
{% set ns = namespace(last=-1, text='') %}
{%- for m in messages if m.role != 'system' %}
    {%- set ns.last = loop.index0 %}
    {% set ns.text = ns.text ~ m.content ~ loop.last ~ loop.length %}
    {%- if loop.first %}{% continue %}{% endif %}
    {% generation %}{{ show(m) }}{% endgeneration %}
    {%- if loop.index > 2 %}{% break %}{% endif %}
{% else %}nobody{% endfor %}
{{ ns.last }} {{ ns.text }} {{ messages|map(attribute='role')|join(', ') }} {{ messages|join('-', attribute='role') }}
{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages[::-1]|map(attribute='content')|list }}
{{ tools is none }} {{ documents is defined }} {{ zzz is defined }} {{ messages[0].items()|list }}
{{ '%s=%d' % ('a', 3) }} {{ '{:>5}|{}'.format('x', 2) }} {{ 'a-b-c'.split('-')[-1] }} {{ dict(a=1, b=[1, 2])|tojson }}
{{ range(5)|list }} {{ ['b', 'a']|sort }} {{ messages|groupby('role')|list|length }} {{ 'x'|replace('x', 'yy') }}
{{ 'a\nb\n\nc'|indent(2) }} {{ 'a\nb'|indent(2, true) }} {{ 5 // 2 }} {{ 2 ** 3 }} {{ 'ab' * 3 }} {{ [1] * 3 + [2] }}
{{ (1, 'x') }} {{ {'k': 1} }} {{ none }} {{ 1.5|round }} {{ [3, 1]|max }} {{ 'q' in 'qr' }} {{ "x" ~ 1 ~ none }}
{{ messages|tojson }} {{ 'é😀'|tojson }} {{ {'b': 1, 'a': 2}|dictsort }} {{ [1, [2]]|string }}
{{ 'A,B'.lower().split(',')|first }} {{ [1, 2, 3]|reject('odd')|list }} {{ [[1, 'a'], [2, 'b']]|map('last')|join }}
{% call(x) twice() %}{{ x }}{% endcall %} {{ '<i>'|e }} {{ 'a.b'.replace('.', '') }} {{ ', '.join(['a', 'b']) }}
{% for k, v in {'a': {'b': 1}}.items() recursive %}{{ k }}{% if v is mapping %}{{ loop(v.items()) }}{% endif %}
{%- endfor %}
"""


def theirs(template: str, **variables: Any) -> str:
    clean = [{key: value for key, value in message.items() if value is not None} for message in MESSAGES]
    return render_jinja_template([clean], chat_template=template, **TOKENS, **variables)[0][0]


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("template", [CHATML, STRICT, EVERYTHING], ids=["chatml", "strict", "everything"])
def test_renders_as_transformers_does(template: str, prompt: bool):
    ours = chat.render(template, MESSAGES, **TOKENS, add_generation_prompt=prompt)
    assert ours == theirs(template, add_generation_prompt=prompt)


def test_what_a_template_may_read():
    tools = [{"name": "f"}]
    assert chat.render("{{ tools[0].name }}{{ thinking }}", MESSAGES, tools=tools, thinking=True) == "fTrue"
    assert chat.render("{{ strftime_now('%Y') }}", MESSAGES) == time.strftime("%Y")


def test_a_complaint_of_the_template_is_passed_on():
    with pytest.raises(ValueError, match="roles must alternate"):
        chat.render(STRICT, MESSAGES[1:2] * 2, **TOKENS)


GROW = "{% set ns = namespace(v={start}) %}{% for i in range(60) %}{% set ns.v = {step} %}{% endfor %}{{ ns.v }}"
BIG = "{% set b = 'a' * 99999 %}"
ENDLESS = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "long range": "{% for i in range(10 ** 9) %}x{% endfor %}",
    "long output": "{% for i in range(100000) %}" + "x" * 1000 + "{% endfor %}",
    "long block": "{% set x %}{% for i in range(100000) %}" + "x" * 5000 + "{% endfor %}{% endset %}",
    "product": "{{ 'a' * 10 ** 9 }}",
    "product of a list": "{% set x = [1] * 10 ** 8 %}",
    "doubled by +": GROW.replace("{start}", "'aaaa'").replace("{step}", "ns.v + ns.v"),
    "doubled by ~": GROW.replace("{start}", "'aaaa'").replace("{step}", "ns.v ~ ns.v"),
    "doubled lists": GROW.replace("{start}", "[1]").replace("{step}", "[ns.v, ns.v]"),
    "doubled tuples": GROW.replace("{start}", "(1,)").replace("{step}", "(ns.v, ns.v)"),
    "doubled dicts": GROW.replace("{start}", "dict()").replace("{step}", "dict(a=ns.v, b=ns.v)"),
    "squares": GROW.replace("{start}", "99999").replace("{step}", "ns.v * ns.v"),
    "powers": "{{ 9 ** (9 ** 9) }}",
    "macros": "{% macro a(n) %}{% if n %}{{ a(n - 1) }}{{ a(n - 1) }}{% endif %}{% endmacro %}{{ a(60) }}",
    "recursion": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "loop of itself": "{% for i in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
    "wide %": "{{ '%1000000000d' % 1 }}",
    "wide % from outside": "{{ '%*d' % (10 ** 9, 1) }}",
    "wide format": "{{ '{:1000000000}'.format(1) }}",
    "wide format from outside": "{{ '{:{}}'.format(1, 10 ** 9) }}",
    "indent": "{{ 'a\nb'|indent(10 ** 9) }}",
    "replace": BIG + "{{ b|replace('a', b) }}",
    "replace of str": BIG + "{{ b.replace('a', b) }}",
    "join": BIG + "{{ range(99999)|join(b) }}",
    "join of str": BIG + "{{ b.join(range(99999)|map('string')) }}",
    "one text many times": BIG + "{% set l = [b] * 99999 %}{{ l|join }}",
    "maps": "{% for i in range(99999) %}{{ range(99999)|map('string')|list|length }}{% endfor %}",
    "search": BIG + "{% for i in range(99999) %}{{ ('b' ~ b) in b }}{% endfor %}",
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_templates_without_end_are_refused(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox, "STEPS", 10_000)
    monkeypatch.setattr(sandbox, "LENGTH", 200_000)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"steps|characters|Range too big|width|recursion|not for templates"):
        chat.render(ENDLESS[name], MESSAGES)
    assert time.monotonic() - began < 10


FORBIDDEN = {
    "classes": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "changes": ("{{ messages.append(1) }}", "unsafe"),
    "methods of numbers": ("{{ (5).to_bytes(10 ** 9) }}", "int.to_bytes is not for templates"),
    "padding": ("{{ 'a'.ljust(10 ** 9) }}", "str.ljust is not for templates"),
    "centring": ("{{ 'a'|center(10 ** 9) }}", "No filter named 'center'"),
    "namespaces": ("{{ namespace(__class__=1) }}", "may not have '__class__'"),
    "imports": ("{% import 'x' as y %}", "no loader"),
    "what is not there": ("{{ x.y }}", "'x' is undefined"),
    "broken syntax": ("a\n{% for %}", "line 2"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_is_not_for_templates(name: str):
    template, complaint = FORBIDDEN[name]
    with pytest.raises(ValueError, match=complaint):
        chat.render(template, MESSAGES)


def test_a_long_conversation_is_no_explosion():
    long = [{"role": "user", "content": "word " * 2000}, {"role": "assistant", "content": "x" * 20_000}] * 100
    assert len(chat.render(CHATML, long, add_generation_prompt=True)) > 3_000_000


def test_messages_are_plain_data():
    class Text(str):
        __slots__ = ()

    assert chat.render("{{ messages[0].content }}", [{"role": "user", "content": Text("a")}]) == "a"
    for bad in (object(), b"bytes", {1, 2}):
        with pytest.raises(TypeError, match=f"holds a {type(bad).__name__}"):
            chat.render("", [{"role": "user", "content": bad}])
    with pytest.raises(ValueError, match="at least one message"):
        chat.render("", [])


def test_where_templates_come_from(library: Library, tmp_path):
    folder = library.copy("bert", tmp_path)
    settings = folder / "tokenizer_config.json"
    settings.write_text('{"chat_template": "config {{ messages[0].content }} {{ sep_token }}"}')
    ask = lambda **more: Tokenizer.load(folder).chat([{"role": "user", "content": "x"}], **more)
    assert ask() == "config x [SEP]"
    settings.write_text(
        '{"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]}'
    )
    assert (ask(), ask(tools=[{"name": "f"}])) == ("plain", "tools")
    (folder / "chat_template.jinja").write_text("file{{ '!' if add_generation_prompt }}")
    assert (ask(), ask(add_generation_prompt=False)) == ("file!", "file")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("more")
    assert ask(tools=[]) == "more"
    Tokenizer.load(folder).save(tmp_path / "copy")
    folder = tmp_path / "copy"
    assert (ask(), ask(tools=[])) == ("file!", "more")


def test_no_template_is_an_error(library: Library, tmp_path):
    with pytest.raises(ValueError, match="no chat template"):
        library.both("gpt2")[0].chat(MESSAGES)
    folder = library.copy("gpt2", tmp_path)
    (folder / "tokenizer_config.json").write_text('{"chat_template": [{"name": "rag", "template": "x"}]}')
    with pytest.raises(ValueError, match="no chat template is the default one; there are rag"):
        Tokenizer.load(folder).chat(MESSAGES)
