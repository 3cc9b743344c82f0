"""The tables and the picture that bench/run leaves behind."""

import json
import statistics

import bars

CONTENDERS = ("limit", "fio", "raw", "null")  # in the order of the tables


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
        "guest on a thread of its own; CPU without the guest's. `limit`: the same load on the file by",
        "one thread with an io_uring; its CPU includes making the load, as fio's does. With one in",
        "flight all but fio poll before they sleep, and that is in their CPU.",
        "",
        "| load | raw : limit | raw : fio | limit IOPS | fio IOPS | raw IOPS | null IOPS "
        "| CPU µs an I/O: limit | fio | raw | null |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [row(load) for load in results["loads"]]
    lines += [
        "",
        "| load | latency µs, median / 99 % / 99.9 %: limit | fio | raw | null |",
        "|---|---|---|---|---|",
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

    cells = [with_spread(ratios(load, limit), ".2f") for limit in ("limit", "fio")]
    cells += [iops(contender) for contender in CONTENDERS]
    cells += [cpu(contender) for contender in CONTENDERS]
    return f"| {name_of_result(load)} | {' | '.join(cells)} |"


def latency_row(load):
    cells = []
    for contender in CONTENDERS:
        medians = [statistics.median(one[contender]["latency_us"][share] for one in load["rounds"])
                   for share in ("p50", "p99", "p999")]
        cells.append(" / ".join(f"{value:.0f}" for value in medians))
    return f"| {name_of_result(load)} | {' | '.join(cells)} |"


def values_of(load, contender, figure):
    return [one[contender][figure] for one in load["rounds"]]


def ratios(load, limit="limit"):
    """Of each round by itself: what disturbs the machine disturbs its neighbours in time alike."""
    pairs = zip(values_of(load, "raw", "iops"), values_of(load, limit, "iops"))
    return [raw / most if most else 0 for raw, most in pairs]


def with_spread(values, form):
    median = statistics.median(values)
    spread = (max(values) - min(values)) / 2 / median * 100 if median else 0
    return f"{median:{form}} (±{spread:.0f} %)"


def picture(loads):
    return bars.picture("IOPS of a raw image over the loopback, the same load straight on the file = 1",
                        [(name_of_result(load), ratios(load)) for load in loads])
