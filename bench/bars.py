"""The picture of a benchmark: one bar a load, a ratio with the range of its rounds."""

import html
import statistics


def picture(title, rows):
    """`rows`: a name and the ratio of each round. 1 is what all are compared with."""
    width, left, step = 720, 230, 30
    scale = (width - left - 60) / max(1.0, *(max(values) for _, values in rows))
    height = step * len(rows) + 50
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             'font-family="sans-serif" font-size="13">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="10" y="20">{html.escape(title)}</text>']
    for number, (name, values) in enumerate(rows):
        top, median = 34 + number * step, statistics.median(values)
        low, high = left + min(values) * scale, left + max(values) * scale
        parts += [
            f'<text x="10" y="{top + 15}">{html.escape(name)}</text>',
            f'<rect x="{left}" y="{top}" width="{median * scale:.1f}" height="20" fill="#4878a8"/>',
            f'<path d="M{low:.1f} {top + 10}H{high:.1f}" stroke="black"/>',
            f'<text x="{max(high, left + median * scale) + 6:.1f}" y="{top + 15}">{median:.2f}</text>',
        ]
    one = left + scale
    parts.append(f'<path d="M{one:.1f} 28V{height - 10}" stroke="#888" stroke-dasharray="4 3"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
