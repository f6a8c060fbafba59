"""The report of a run: one HTML file that needs nothing beside it, and its plots as SVG and PNG."""

from tandem.evaluation.report.writing import FILE_NAME, PLOTS_NAME, write_report

__all__ = ["FILE_NAME", "PLOTS_NAME", "write_report"]
