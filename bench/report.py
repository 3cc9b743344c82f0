"""The tables and the picture that bench/run leaves behind."""

import json
import statistics

import bars


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
    return bars.picture("IOPS of a raw image over the loopback, io_uring on the file = 1",
                        [(name_of_result(load), ratios(load)) for load in loads])
