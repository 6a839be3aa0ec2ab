"""Version numbers as the original wrote them."""

Version = list[int | str]

# Longer runs of digits are junk, and would not fit a JSON reader's 53-bit numbers.
_MAX_DIGITS = 9


def version(*parts: str | None) -> Version:
    """`("10", "15", None)` → `[10, 15]`; a part that is no number ("XP", "Vista") stays a text, as in the original."""
    return [
        int(part) if part.isascii() and part.isdigit() and len(part) <= _MAX_DIGITS else part
        for part in parts
        if part is not None
    ]
