"""The tables and the picture that bench/xen/run leaves behind."""

import collections
import json
import statistics

import bars
from report import name_of, with_spread

BASE = "blkback-file"
# The same kind of storage: who is compared with whom in the second table.
PAIRS = [("xenblk-file", "blkback-file"), ("xenblk-disk", "blkback-disk"),
         ("xenblk-vhd", "xenblk-file"), ("qdisk-raw", "blkback-file"), ("qdisk-vhd", "blkback-file")]


def write(results, folder):
    (folder / "xen.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "xen.md").write_text(markdown(results))
    loads = by_load(results["rows"])
    rows = [(name_of(load), ratios(rounds, "xenblk-file", BASE)) for load, rounds in loads.items()
            if ratios(rounds, "xenblk-file", BASE)]
    if rows:
        title = "IOPS of xenblk on a raw file in a guest of the real Xen, blkback on a loop device = 1"
        (folder / "xen.svg").write_text(bars.picture(title, rows))


def by_load(rows):
    """Of each load, of each round, what each contender did."""
    loads = collections.defaultdict(lambda: collections.defaultdict(dict))
    for row in rows:
        load = (row["pattern"], row["block_bytes"], row["depth"])
        loads[load][row["round"]][row["contender"]] = row
    return loads


def ratios(rounds, one, other):
    return [seen[one]["iops"] / seen[other]["iops"] for seen in rounds.values()
            if one in seen and other in seen and seen[other]["iops"]]


def markdown(results):
    about, loads = results["about"], by_load(results["rows"])
    contenders = list(dict.fromkeys(row["contender"] for row in results["rows"]))
    contenders.sort(key=lambda name: name != BASE)
    lines = [
        "# xenblk beside blkback and qdisk on the real Xen",
        "",
        f"Revision {about['revision']}, {about['date']}; {about['processors']} × {about['processor']}, "
        f"Linux {about['kernel']}, load average at the start {about['load_average']:.1f}; "
        f"{about['rounds']} rounds of {about['seconds']} s, images of {about['image_mib']} MiB.",
        "",
        "Xen, dom0 and the guest run in QEMU's software CPU: only the ratios count.",
        "",
        "`-file`: the same raw file, for blkback through a loop device with direct I/O. `-disk`: a virtio",
        "disk, one each of the same kind. Medians; in brackets half the distance of the largest and the",
        "smallest, in per cent of the median.",
        "",
        "## IOPS, in the guest",
        "",
        "| load | " + " | ".join(contenders) + " |",
        "|---|" + "---|" * len(contenders),
    ]
    for load, rounds in loads.items():
        lines.append(f"| {name_of(load)} | " + " | ".join(iops(rounds, name) for name in contenders) + " |")
    lines += ["", "## Ratios of IOPS, of each round by itself", ""]
    lines += ratio_table(loads)
    lines += ["", "## CPU seconds of dom0 for a thousand operations", "",
              "| load | " + " | ".join(contenders) + " |", "|---|" + "---|" * len(contenders)]
    for load, rounds in loads.items():
        cells = [cpu(rounds, name, about["seconds"]) for name in contenders]
        lines.append(f"| {name_of(load)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ratio_table(loads):
    pairs = [pair for pair in PAIRS if any(ratios(rounds, *pair) for rounds in loads.values())]
    lines = ["| load | " + " | ".join(f"{one} : {other}" for one, other in pairs) + " |",
             "|---|" + "---|" * len(pairs)]
    medians = collections.defaultdict(list)
    for load, rounds in loads.items():
        cells = []
        for pair in pairs:
            values = ratios(rounds, *pair)
            cells.append(with_spread(values, ".2f") if values else "—")
            if values:
                medians[pair].append(statistics.median(values))
        lines.append(f"| {name_of(load)} | " + " | ".join(cells) + " |")
    means = [f"{statistics.geometric_mean(medians[pair]):.2f}" for pair in pairs]
    return [*lines, "| **geometric mean** | " + " | ".join(means) + " |"]


def iops(rounds, name):
    values = [seen[name]["iops"] for seen in rounds.values() if name in seen]
    return with_spread(values, ".0f") if values else "—"


def cpu(rounds, name, seconds):
    values = [seen[name]["dom0_seconds"] / (seen[name]["iops"] * seconds) * 1000
              for seen in rounds.values() if name in seen and seen[name]["iops"]]
    return with_spread(values, ".2f") if values else "—"
