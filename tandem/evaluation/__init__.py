"""Tasks, metrics and reports: what quality and speed are measured on."""

from __future__ import annotations
