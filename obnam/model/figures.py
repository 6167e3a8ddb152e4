"""Figures as text for people."""


def size_text(size_bytes: int) -> str:
    """A number of bytes: ``1.3 GB``."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def counted(number: int, what: str) -> str:
    """``1 generation``, ``2 generations``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
