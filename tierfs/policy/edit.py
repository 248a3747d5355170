"""Changes to the text of a YAML file that leave its comments and its layout alone.

PyYAML tells where each node stands in the text; a change is an insertion or a replacement there.
What a person wrote stays as it was, so that a diff shows the change and nothing else.
"""

from __future__ import annotations

import yaml


def set_key(text: str, keys: tuple[str, ...], value: str) -> str:
    """The text with the scalar at ``keys`` (outermost first) set to ``value``, a YAML scalar.

    Mappings on the way are made where they are missing.

    Raises:
        yaml.YAMLError: the text is not YAML.
        ValueError: one of the keys on the way is not a mapping.
    """
    node = _root(text)
    for depth, key in enumerate(keys):
        found = _value_of(node, key)
        if found is None:
            rest = keys[depth + 1 :]
            inner = "".join(f"{{{name}: " for name in rest) + value + "}" * len(rest)
            return _insert_entry(text, node, f"{key}: {inner}")
        if depth == len(keys) - 1:
            if isinstance(found, yaml.ScalarNode):
                return _replace(text, found, value)
            break
        if isinstance(found, yaml.ScalarNode) and not found.value:  # "flash:" with nothing in it
            rest = keys[depth + 1 :]
            inner = "{" + ": {".join(rest) + f": {value}" + "}" * len(rest)
            return _replace(text, found, inner)
        if not isinstance(found, yaml.MappingNode):
            break
        node = found
    raise ValueError(f"{'.'.join(keys)} is not where a scalar can be set")


def insert_rule(text: str, key: str, entries: dict[str, str]) -> str:
    """The text with a mapping put first into the list ``key``; entries are YAML of one line each.

    Raises:
        yaml.YAMLError: the text is not YAML.
        ValueError: ``key`` is not a list.
    """
    root = _root(text)
    rules = _value_of(root, key)
    flow = "{" + ", ".join(f"{name}: {value}" for name, value in entries.items()) + "}"
    if rules is None:
        if root.flow_style:
            return _insert_entry(text, root, f"{key}: [{flow}]")
        end = "" if text.endswith("\n") else "\n"
        return f"{text}{end}{key}:\n{_block(entries, 2)}"
    if isinstance(rules, yaml.ScalarNode) and not rules.value:
        return _replace(text, rules, f"[{flow}]")
    if not isinstance(rules, yaml.SequenceNode):
        raise ValueError(f"{key} is not a list")  # noqa: TRY004 - of the text, as above
    start = rules.start_mark
    if rules.flow_style:
        more = ", " if rules.value else ""
        return text[: start.index + 1] + flow + more + text[start.index + 1 :]
    line = start.index - start.column
    return text[:line] + _block(entries, start.column) + text[line:]


def append_rule(text: str, key: str, entries: dict[str, str]) -> str:
    """As `insert_rule`, but behind the others: for what these hold for they go on holding.

    Raises:
        As `insert_rule`.
    """
    rules = _value_of(_root(text), key)
    if not isinstance(rules, yaml.SequenceNode) or not rules.value:
        return insert_rule(text, key, entries)
    if rules.flow_style:
        at = rules.value[-1].end_mark.index
        flow = "{" + ", ".join(f"{name}: {value}" for name, value in entries.items()) + "}"
        return f"{text[:at]}, {flow}{text[at:]}"
    # A block ends where the next token begins, behind blank lines and comments.
    end = text.find("\n", _last_of(rules).end_mark.index)
    before = text if end < 0 else text[: end + 1]
    gap = "" if before.endswith("\n") else "\n"
    return before + gap + _block(entries, rules.start_mark.column) + text[len(before) :]


def set_in_rule(text: str, key: str, name: str, setting: str, value: str) -> str | None:
    """The text with a scalar of the rule ``name`` in the list ``key`` set; None: it has none.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    rules = _value_of(_root(text), key)
    for rule in rules.value if isinstance(rules, yaml.SequenceNode) else ():
        if isinstance(rule, yaml.MappingNode):
            its_name, found = _value_of(rule, "name"), _value_of(rule, setting)
            if its_name is not None and its_name.value == name:
                return _replace(text, found, value) if isinstance(found, yaml.ScalarNode) else None
    return None


def _last_of(node: yaml.Node) -> yaml.Node:
    """What stands last in a block."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _root(text: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("the file is not a mapping")  # noqa: TRY004 - of the text, not of a type
    return root


def _value_of(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    return next((value for name, value in mapping.value if name.value == key), None)


def _replace(text: str, node: yaml.Node, value: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    space = " " if text[start - 1 : start] == ":" else ""  # "key:" with nothing behind it
    return text[:start] + space + value + text[end:]


def _insert_entry(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    if mapping.flow_style:
        # Behind the last value: a comma may follow it already, which YAML allows.
        at = mapping.value[-1][1].end_mark.index if mapping.value else mapping.start_mark.index + 1
        return text[:at] + (", " if mapping.value else "") + entry + text[at:]
    # Behind the line of the first key, where its value is in that line; else before it.
    name, value = mapping.value[0]
    start = name.start_mark
    line = start.index - start.column
    if isinstance(value, yaml.ScalarNode) and value.end_mark.line == start.line:
        end = text.find("\n", value.end_mark.index)
        if end < 0:
            return f"{text}\n{' ' * start.column}{entry}\n"
        line = end + 1
    return f"{text[:line]}{' ' * start.column}{entry}\n{text[line:]}"


def _block(entries: dict[str, str], column: int) -> str:
    lines = [f"{name}: {value}" for name, value in entries.items()]
    first, *others = lines
    pad = " " * column
    return "".join([f"{pad}- {first}\n", *(f"{pad}  {line}\n" for line in others)])
