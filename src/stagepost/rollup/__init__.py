"""Tallies to windowed metrics: windows, counters, watermark, and the published form (design.md 3.4, 5). Pure."""
