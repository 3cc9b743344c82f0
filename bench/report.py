"""The tables and the picture that bench/run leaves behind."""

import html
import json
import statistics


def write(results, folder):
    (folder / "data-path.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "data-path.md").write_text(markdown(results))
    (folder / "data-path.svg").write_text(picture(results["loads"]))


def name_of(load):
    pattern, block, depth = load
    return f"{pattern} {block // 1024}k, {depth} in flight"


def name_of_result(load):
    return name_of((load["pattern"], load["block_bytes"], load["depth"]))


def markdown(results):
    about = results["about"]
    lines = [
        "# The data path beside io_uring",
        "",
        f"Revision {about['revision']}, {about['date']}; {about['processors']} × {about['processor']}, "
        f"Linux {about['kernel']}, load average at the start {about['load_average']:.1f}; "
        f"{about['rounds']} rounds of {about['seconds']:g} s, image of {about['image_mib']} MiB, "
        f"{'direct I/O' if about['direct_io'] else 'page cache'}.",
        "",
        "Medians; in brackets the spread: half the distance of the largest and the smallest, in per",
        "cent of the median. `null` and `raw`: rings and one worker on the loopback Xen, with the",
        "guest on a thread of its own; CPU without the guest's. `io_uring`: fio on the same file; its",
        "CPU includes making the load.",
        "",
        "| load | raw : io_uring | io_uring IOPS | raw IOPS | null IOPS "
        "| CPU µs an I/O: io_uring | raw | null |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [row(load) for load in results["loads"]]
    lines += [
        "",
        "| load | latency µs, median / 99 % / 99.9 %: io_uring | raw | null |",
        "|---|---|---|---|",
    ]
    lines += [latency_row(load) for load in results["loads"]]
    lines += ["", "## Single steps", "", "| step | CPU ns each |", "|---|---|"]
    lines += [f"| {name} | {with_spread(values, '.1f')} |" for name, values in results["micro"].items()]
    return "\n".join(lines) + "\n"


def row(load):
    def iops(contender):
        return with_spread(values_of(load, contender, "iops"), ".0f")

    def cpu(contender):
        return with_spread(values_of(load, contender, "cpu_us_per_io"), ".2f")

    return (f"| {name_of_result(load)} | {with_spread(ratios(load), '.2f')} | {iops('io_uring')} "
            f"| {iops('raw')} | {iops('null')} | {cpu('io_uring')} | {cpu('raw')} | {cpu('null')} |")


def latency_row(load):
    cells = []
    for contender in ("io_uring", "raw", "null"):
        medians = [statistics.median(one[contender]["latency_us"][share] for one in load["rounds"])
                   for share in ("p50", "p99", "p999")]
        cells.append(" / ".join(f"{value:.0f}" for value in medians))
    return f"| {name_of_result(load)} | {' | '.join(cells)} |"


def values_of(load, contender, figure):
    return [one[contender][figure] for one in load["rounds"]]


def ratios(load):
    """Of each round by itself: what disturbs the machine disturbs its neighbours in time alike."""
    pairs = zip(values_of(load, "raw", "iops"), values_of(load, "io_uring", "iops"))
    return [raw / limit if limit else 0 for raw, limit in pairs]


def with_spread(values, form):
    median = statistics.median(values)
    spread = (max(values) - min(values)) / 2 / median * 100 if median else 0
    return f"{median:{form}} (±{spread:.0f} %)"


def picture(loads):
    """One bar a load: raw over the loopback as a share of io_uring, with the range of its rounds."""
    width, left, step = 720, 230, 34
    scale = (width - left - 60) / max(1.0, *(max(ratios(load)) for load in loads))
    height = step * len(loads) + 50
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             'font-family="sans-serif" font-size="13">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             '<text x="10" y="20">IOPS of a raw image over the loopback, io_uring on the file = 1</text>']
    for number, load in enumerate(loads):
        values = ratios(load)
        top, median = 34 + number * step, statistics.median(values)
        low, high = left + min(values) * scale, left + max(values) * scale
        parts += [
            f'<text x="10" y="{top + 15}">{html.escape(name_of_result(load))}</text>',
            f'<rect x="{left}" y="{top}" width="{median * scale:.1f}" height="20" fill="#4878a8"/>',
            f'<path d="M{low:.1f} {top + 10}H{high:.1f}" stroke="black"/>',
            f'<text x="{max(high, left + median * scale) + 6:.1f}" y="{top + 15}">{median:.2f}</text>',
        ]
    one = left + scale
    parts.append(f'<path d="M{one:.1f} 28V{height - 10}" stroke="#888" stroke-dasharray="4 3"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
