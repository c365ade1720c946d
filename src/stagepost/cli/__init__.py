"""The command line: one file per group of verbs. Each parses, calls, prints.

May not contain: logic worth a unit test of its own, a module-level client, a module-level app. A file's imports at the
top are light; what a verb needs beyond them is imported in the verb, so that ``--help`` stays quick.
"""
