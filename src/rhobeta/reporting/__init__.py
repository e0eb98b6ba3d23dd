"""Figures, the report, the unit dashboard and tables."""
