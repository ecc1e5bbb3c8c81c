"""Small charts as self-contained SVG: curves over an axis, and bars."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_COLOURS = ("#1b6ca8", "#d1495b", "#3a8f5c", "#8661c1", "#c98a1b", "#4d4d4d")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 420, 56, 150, 36, 48
_BAR = 16


def line_chart(
    title: str, x_label: str, y_label: str, x: Sequence[float], curves: Mapping[str, Sequence[float]]
) -> str:
    """Curves with values in [0, 1] over the common axis ``x``, ascending; each with its legend."""
    low, high = x[0], x[-1]
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = [_text(_LEFT, 22, title, size=15), *_grid(low, high)]
    for index, (name, values) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        points = " ".join(
            f"{_LEFT + wide * (at - low) / ((high - low) or 1):.1f},{_TOP + tall * (1 - value):.1f}"
            for at, value in zip(x, values, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        row = _TOP + 12 + 18 * index
        if row < _HEIGHT - _BOTTOM:
            parts.append(f'<rect x="{_WIDTH - _RIGHT + 12}" y="{row - 9}" width="10" height="10" fill="{colour}"/>')
            parts.append(_text(_WIDTH - _RIGHT + 28, row, name))
    parts.append(_text(_LEFT + wide / 2, _HEIGHT - 10, x_label, anchor="middle"))
    parts.append(_text(14, _TOP - 10, y_label))
    return _document(_WIDTH, _HEIGHT, parts)


def bar_chart(title: str, bars: Mapping[str, float]) -> str:
    """Horizontal bars with values in [0, 1], in the order given."""
    height = _TOP + _BAR * len(bars) + 16
    parts = [_text(12, 22, title, size=15)]
    for index, (name, value) in enumerate(bars.items()):
        top = _TOP + _BAR * index
        parts.append(_text(190, top + 11, name, anchor="end"))
        length = 360 * min(max(value, 0.0), 1.0)
        parts.append(f'<rect x="196" y="{top + 2}" width="{length:.1f}" height="{_BAR - 4}" fill="{_COLOURS[0]}"/>')
        parts.append(_text(202 + length, top + 11, f"{value:.3f}"))
    return _document(_WIDTH, height, parts)


def _grid(low: float, high: float) -> list[str]:
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = []
    for step in range(6):
        y = _TOP + tall * (1 - step / 5)
        x = _LEFT + wide * step / 5
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{wide}M{x:.1f} {_TOP}v{tall}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{step / 5:.1f}", anchor="end"))
        parts.append(_text(x, _TOP + tall + 16, f"{low + (high - low) * step / 5:.4g}", anchor="middle"))
    return parts


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start") -> str:
    printable = escape("".join(c if c.isprintable() else "?" for c in text))
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{printable}</text>'


def _document(width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>\n"])
