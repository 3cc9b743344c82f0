"""Include arrows: a folder includes only what its row of the architecture allows."""

import posixpath
import re

import layers

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def check(tree):
    violations = []
    walled = {}
    for path in tree.cpp():
        own = layers.layer_of(path)
        if own is None:
            violations.append(f"{path}: no layer of the architecture has this folder")
            continue
        for number, quote, header in includes_of(tree, path):
            used = what_is(tree, path, quote, header)
            where = f"{path}:{number}: {header}"
            if used is None:
                violations.append(f"{where}: unknown header; tests/tree/layers.py says who uses what")
            elif not own.may_use(used):
                violations.append(f"{where}: {own.folder} may not use {used}")
            elif layers.ONE_FILE_ONLY.get(used) == own.folder:
                walled.setdefault(used, set()).add(path)
    for group, paths in sorted(walled.items()):
        if len(paths) > 1:
            violations.append(f"{group} is included by more than one file: {', '.join(sorted(paths))}")
    return violations


def includes_of(tree, path):
    for number, line in tree.lines(path):
        found = INCLUDE.match(line)
        if found:
            yield number, found.group(1), found.group(2)


def what_is(tree, path, quote, header):
    """The layer or the group of outside headers that an include names, None when it is unknown."""
    own_path = resolve(tree, path, quote, header)
    if own_path is not None:
        layer = layers.layer_of(own_path)
        return layer.folder if layer else None
    return layers.group_of(header)


def resolve(tree, path, quote, header):
    """The file of this tree that the include names, as the compiler would find it; None if outside."""
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(path), header))
    tried = ([beside] if quote == '"' else []) + [posixpath.normpath(header), f"include/{header}"]
    return next((one for one in tried if (tree.root / one).is_file()), None)
