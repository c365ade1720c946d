"""A second, naive implementation of the journey language, written from journeys.md alone: the oracle of the engine.

May not contain: an import of the package under test. It keeps every event of a contact and answers every question from
the whole history, so that it can be compared with the page line by line. ``python -m tests.oracle`` is the long run.
"""
