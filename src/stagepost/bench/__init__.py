"""``stagepost bench``: measurements of the product's own code, as ratios within one run.

May not contain: anything that the product needs to work. These machines are noisy, so every measurement has a yardstick
that runs in turn with it (``measure.py``), and CPU time per event comes before events per second.
"""
