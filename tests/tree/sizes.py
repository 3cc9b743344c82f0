"""Sizes that a reader can take in. Functions are measured by clang-tidy."""

LINES_MAX = 500
COLUMNS_MAX = {".h": 100, ".cpp": 100, ".py": 110, ".sh": 160, "CMakeLists.txt": 110, ".cmake": 110}


def check(tree):
    violations = []
    for path in tree.files:
        columns_max = next((n for suffix, n in COLUMNS_MAX.items() if path.endswith(suffix)), None)
        if columns_max is None:
            continue
        count = 0
        for count, line in tree.lines(path):
            if len(line) > columns_max:
                violations.append(f"{path}:{count}: {len(line)} columns, at most {columns_max}")
        if count > LINES_MAX:
            violations.append(f"{path}: {count} lines, at most {LINES_MAX}: split it by meaning")
    return violations
