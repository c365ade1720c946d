"""stagepost: where each contact stands in each customer journey, from e-mail events on Kafka."""

__version__ = "0.1.0"
