"""The job of performance.md 1 on neighbouring tools, to be measured beside ``journey``.

Each peer is one small program with the same four arguments: bootstrap servers, input topic, its own name (in front of
its topics, its group id) and the URL of an empty Redis. It reads canonical events and does what ``rule.py`` says, for
ever; the bench stops it. Each got one sensible setup, and an expert would close a part of the gap. Nothing of these
programs is imported by the product: they run in environments of their own (``install.py``).
"""
