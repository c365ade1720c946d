"""Fixtures for tests against a real Kafka and a real Redis, for our own suites and for users.

``pytest_plugins = ["stagepost.testing.fixtures"]`` in the topmost ``conftest.py`` makes them known. Imported by nothing
in the product.
"""
