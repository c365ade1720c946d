"""Plays the real runner against a log, a coordinator and a mirror in memory, by seeded schedules of faults.

Everything runs in one thread and on virtual time: what happens, and between which two calls of a port, is drawn from
the seed, so that a schedule replays. ``world`` has what is played and what goes wrong, ``invariants`` what must hold
all the time, ``variants`` workers that break one rule each and must be found out, ``schedules`` plays many of them.
"""
