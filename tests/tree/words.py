"""The tree speaks of itself alone: nothing in it points at a place or a thing that is not in it."""

import re

# Written in pieces, so that this file does not contain them either.
FORBIDDEN = tuple(re.compile("".join(pieces), re.IGNORECASE) for pieces in (
    (r"(?<![\w~.}\"'])/wo", "rk/"),
    (r"\.\./sha", "red"),
    (r"\biss", r"ue\s+#?\d+"),
    (r"\biss", r"ues?/\d+"),
    (r"https?://(deb|snapshot|archive|packages)\.[a-z.]", "+"),
    (r"\b(pypi|crates|npmjs)\.", r"(org|io|com)\b"),
))
# Where samples of other programs' images may be, for tests that can use them; named in the README.
SAMPLES_VARIABLE = "XENBLK_VHD_SAMPLES"
# Files whose text is not ours.
FOREIGN = ("LICENSE",)


def check(tree):
    violations = []
    for path in tree.files:
        if path in FOREIGN or is_binary(tree, path):
            continue
        for number, line in tree.lines(path):
            found = next((one.search(line) for one in FORBIDDEN if one.search(line)), None)
            if found and SAMPLES_VARIABLE not in line:
                violations.append(f"{path}:{number}: speaks of something else: {found.group(0)!r}")
    return violations


def is_binary(tree, path):
    with open(tree.root / path, "rb") as file:
        return b"\0" in file.read(4096)
