"""The API's document as HTML for people, without scripts and without anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import unquote

from coalition.server.reference.schemas import PLACE

Json = dict[str, Any]

LINE = 90
"""Characters of an example that stands in one line."""

METHODS = ("get", "put", "post", "delete")


def page(document: Json) -> str:
    """Make the whole page."""
    info = document["info"]
    title = f"{info['title']} {info['version']}: API"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        '<link rel="icon" href="/icon.svg">\n<link rel="stylesheet" href="/css/reference.css">\n'
        f"</head>\n<body>\n<nav>{contents(document)}</nav>\n<main>\n<h1>{escape(title)}</h1>\n"
        f'<p><a href="/api/openapi.json">openapi.json</a> has the same for programs.</p>\n'
        f"{reference(document)}\n</main>\n</body>\n</html>\n"
    )


def reference(document: Json) -> str:
    """Make the part of it that says everything: introduction, routes, types."""
    parts = [f"<p>{_prose(document['info']['description'])}</p>"]
    for tag in document["tags"]:
        parts.append(f'<section id="{tag["name"]}">\n<h2>{tag["name"].capitalize()}</h2>')
        parts.append(f"<p>{_prose(tag['description'])}</p>")
        parts += [_operation(*one) for one in _operations(document, tag["name"])]
        parts.append("</section>")
    parts.append('<section id="types">\n<h2>Types</h2>')
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(_type(name, schema))
    parts.append("</section>")
    return "\n".join(parts)


def contents(document: Json) -> str:
    """Make the list of routes and types, with links to them."""
    parts = []
    for tag in document["tags"]:
        lines = [
            f'<li><a href="#{one["operationId"]}"><b class="{method.lower()}">{method}</b> '
            f"{escape(path)}</a></li>"
            for method, path, one in _operations(document, tag["name"])
        ]
        parts.append(f'<h2><a href="#{tag["name"]}">{tag["name"].capitalize()}</a></h2>')
        parts.append(f"<ul>{''.join(lines)}</ul>")
    names = sorted(document["components"]["schemas"])
    types = "".join(f'<li><a href="#{name}">{name}</a></li>' for name in names)
    return "\n".join([*parts, f'<h2><a href="#types">Types</a></h2><ul>{types}</ul>'])


def _operations(document: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods and methods[method]["tags"] == [tag]:
                yield method.upper(), path, methods[method]


def _operation(method: str, path: str, one: Json) -> str:
    parts = [
        f'<article id="{one["operationId"]}">',
        f'<h3><b class="{method.lower()}">{method}</b> <code>{escape(path)}</code></h3>',
        f"<p>{_prose(one['summary'])}. {_prose(one.get('description', ''))}</p>",
    ]
    if one["parameters"]:
        parts.append(_parameters(one["parameters"]))
    for media, content in one.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Body</h4><p>{_kind(content['schema'])}, as {escape(media)}.</p>")
        parts.append(_code(content.get("example")))
    parts.append("<h4>Answers</h4>")
    parts += [_answer(status, answer) for status, answer in one["responses"].items()]
    return "\n".join([*parts, "</article>"])


def _parameters(parameters: list[Json]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{_kind(one['schema'])}</td>"
        f"<td>{_prose(one['description'])}</td></tr>"
        for one in parameters
    )
    table = f"<table><tr><th>Parameter<th>Type<th>Meaning</tr>{rows}</table>"
    if len(parameters) < 10:
        return table
    return f"<details><summary>{len(parameters)} parameters</summary>{table}</details>"


def _answer(status: str, answer: Json) -> str:
    (media, content), *_ = answer.get("content", {"": {"schema": {}}}).items()
    if int(status) >= 400:
        return f"<p><b>{status}</b> {_prose(answer['description'])}</p>"
    kind = _kind(content["schema"]) if media == "application/json" else escape(media)
    text = "" if status == "200" else _prose(answer["description"])
    return f"<p><b>{status}</b> {kind} {text}</p>{_code(content.get('example'))}"


def _type(name: str, schema: Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{_kind(one)}</td>"
        f"<td>{_default(one)}</td><td>{_prose(one.get('description', ''))}</td></tr>"
        for field, one in schema.get("properties", {}).items()
    )
    return (
        f'<article id="{name}"><h3>{name}</h3><p>{_prose(schema.get("description", ""))}</p>'
        f"<table><tr><th>Field<th>Type<th>Default<th>Meaning</tr>{rows}</table></article>"
    )


def _default(schema: Json) -> str:
    if "default" not in schema or schema["default"] is None:
        return ""
    return f"<code>{escape(json.dumps(schema['default']))}</code>"


def _kind(schema: Json) -> str:
    """Say in a few words what a schema allows."""
    match schema:
        case {"$ref": str(place)}:
            name = unquote(place.removeprefix(PLACE))
            return f'<a href="#{name}">{name}</a>'
        case {"anyOf": list(kinds)}:
            # That texts are read as numbers is said once, in the introduction.
            shown = (_kind(one) for one in kinds if not _is_lax(one, kinds))
            return " or ".join(dict.fromkeys(shown))
        case {"enum": list(words)}:
            if len(words) > 8:
                return "a column"
            return " | ".join(f"<code>{escape(json.dumps(word))}</code>" for word in words)
        case {"type": "array"}:
            return f"list of {_kind(schema.get('items', {}))}"
        case {"type": "object", "additionalProperties": dict(below)} if below:
            return f"object of {_kind(below)}"
        case {"type": str(name)}:
            return escape(name)
    return "anything"


def _is_lax(one: Json, kinds: list[Json]) -> bool:
    if "const" in one:
        return True
    numeric = {"integer", "number", "boolean"} & {str(kind.get("type")) for kind in kinds}
    return bool(numeric) and ("pattern" in one or "0" in one.get("enum", ()))


def _prose(text: str) -> str:
    """Give a text with its `code` marked."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{one}</code>" if at % 2 else one for at, one in enumerate(pieces))


def _code(value: object) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > LINE:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    shown = f"<pre><code>{escape(text)}</code></pre>"
    if text.count("\n") < 20:
        return shown
    return f"<details><summary>Example</summary>{shown}</details>"
