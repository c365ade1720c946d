"""Logical topics and their names on the broker: the installation's one prefix, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from stagepost.engine.plan import Topic


@dataclass(frozen=True)
class TopicNames:
    """Names of one installation. ``prefix`` as in the settings, dot included (``acme.``); empty for none."""

    prefix: str = ""

    def full(self, topic: Topic) -> str:
        """The name on the broker.

        >>> TopicNames("acme.").full(Topic.EVENTS)
        'acme.email.events'
        """
        return self.prefix + topic.value

    def logical(self, name: str) -> Topic:
        """The topic that ``name`` is. Raises ValueError for a topic of another installation."""
        if not name.startswith(self.prefix):
            raise ValueError(f"topic {name!r} does not begin with the prefix {self.prefix!r}")
        return Topic(name[len(self.prefix) :])

    def group(self, role: str) -> str:
        """The consumer group of a role."""
        return f"{self.prefix}stagepost.{role}"

    def transactional_id(self, role: str, instance: str) -> str:
        """``instance`` must be unique among living processes: two with one id fence each other for ever."""
        return f"{self.group(role)}.{instance}"
