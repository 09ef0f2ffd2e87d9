"""Cells of tables that a spreadsheet must not take for formulas."""

from __future__ import annotations

from collections.abc import Iterable

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of texts that spreadsheets take for formulas. Source: OWASP, "CSV injection"."""


def plain_cells(row: Iterable[object]) -> list[object]:
    """Puts an apostrophe before every text that a spreadsheet would take for a formula; numbers stay as they are."""
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) else cell for cell in row]
