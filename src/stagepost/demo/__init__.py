"""``stagepost demo``: a seeded history of provider webhooks, played to the real roles on a compressed clock.

``traffic`` makes it up, ``player`` publishes it, ``supervisor`` starts everything and reads what came out, ``view``
shows it. Nothing here is used by the roles.
"""
