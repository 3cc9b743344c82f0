"""Link arrows: a folder's CMake targets link only what its row of the architecture allows."""

import re

import layers

# xenblk_library(NAME LINKS...), xenblk_tests(NAME LINKS...), target_link_libraries(NAME LINKS...)
COMMAND = re.compile(r"\b(xenblk_library|xenblk_tests|target_link_libraries)\s*\(([^)]*)\)")
NO_LINKS = re.compile(r"\bLONG\b|\bSHARDS\s+\d+")
KEYWORDS = {"PUBLIC", "PRIVATE", "INTERFACE"}
ALWAYS = {"xenblk_flags"}


def check(tree):
    violations = []
    for path in tree.named("CMakeLists.txt"):
        own = layers.layer_of(path)
        if own is None:
            continue  # the top one, where nothing is built
        for target, link in links_of(tree.text(path)):
            used = what_is(link)
            if used is None:
                violations.append(f"{path}: {target} links {link}: unknown; see tests/tree/layers.py")
            elif not own.may_use(used):
                violations.append(f"{path}: {target} links {link}: {own.folder} may not use {used}")
    return violations


def links_of(text):
    without_comments = re.sub(r"#.*", "", text)
    for _, arguments in COMMAND.findall(without_comments):
        target, *links = NO_LINKS.sub("", arguments).split()
        for link in links:
            if link not in KEYWORDS | ALWAYS:
                yield target, link


def what_is(link):
    owners = [layer.folder for layer in layers.LAYERS if layer.target == link]
    return owners[0] if owners else layers.TARGET_GROUPS.get(link)
