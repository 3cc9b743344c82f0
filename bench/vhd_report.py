"""The tables and the picture that bench/vhd leaves behind."""

import json

import bars
from report import with_spread


def write(results, folder):
    (folder / "vhd.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "vhd.md").write_text(markdown(results))
    (folder / "vhd.svg").write_text(picture(results))


def name_of(load):
    pattern, block, depth = load
    return f"{pattern} {block // 1024}k, {depth} in flight"


def name_of_first(load):
    block, depth, first = load
    return f"{block // 1024}k, {depth} in flight" + (", mid-block" if first else "")


def markdown(results):
    about = results["about"]
    lines = [
        "# VHD images beside raw ones",
        "",
        f"Revision {about['revision']}, {about['date']}; {about['processors']} × {about['processor']}, "
        f"Linux {about['kernel']}, load average at the start {about['load_average']:.1f}; "
        f"{about['rounds']} rounds of {about['seconds']:g} s, images of {about['image_mib']} MiB, "
        f"{'direct I/O' if about['direct_io'] else 'page cache'}.",
        "",
        "One thread, its own io_uring, straight at the image. In a round the images take turns of",
        "50 ms; first writes have a process each. Ratios are to raw in the same round; medians, in",
        "brackets half the distance of the largest and the smallest in per cent of the median.",
        "qemu: `qemu-img bench` on the VHD, in a process of its own; it has no random load.",
        "",
    ]
    lines += table("load", [(name_of((one["pattern"], one["block_bytes"], one["depth"])), one)
                            for one in results["loads"]])
    lines += ["", "## First writes: each operation is the first in its block", ""]
    lines += table("first write", [(name_of_first(first_write(one)), one)
                                   for one in results["first_writes"]])
    mib = results["memory_bytes"] / (1 << 20)
    lines += ["", f"An open image of 2040 GiB holds {mib:.1f} MiB of memory.", ""]
    return "\n".join(lines)


def first_write(one):
    return one["block_bytes"], one["depth"], one["first_bytes"]


def table(title, rows):
    names = list(dict.fromkeys(name for _, row in rows for one in row["rounds"] for name in one))
    others = [name for name in names if name != "raw"]
    lines = [f"| {title} | raw IOPS | " + " | ".join(f"{name} : raw" for name in others) + " |",
             "|---|---|" + "---|" * len(others)]
    for name, row in rows:
        raw = with_spread([one["raw"]["iops"] for one in row["rounds"]], ".0f")
        cells = [with_spread(ratios(row, other), ".2f") if ratios(row, other) else "—"
                 for other in others]
        lines.append(f"| {name} | {raw} | " + " | ".join(cells) + " |")
    return lines


def ratios(row, name):
    return [one[name]["iops"] / one["raw"]["iops"] for one in row["rounds"] if name in one]


def picture(results):
    rows = [(name_of((one["pattern"], one["block_bytes"], one["depth"])), ratios(one, "vhd"))
            for one in results["loads"]]
    rows += [(f"first {name_of_first(first_write(one))}", ratios(one, "vhd"))
             for one in results["first_writes"]]
    return bars.picture("IOPS of a dynamic VHD, raw on the same file system = 1", rows)
