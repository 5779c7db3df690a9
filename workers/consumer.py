"""Celery's consumer, less what our doorbell has no use for."""

from __future__ import annotations

from celery.worker.consumer import Consumer as UsualConsumer

UNUSED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
"""With quorum queues it would declare 28 queues and exchanges in RabbitMQ, for messages that are to come later."""


class Consumer(UsualConsumer):
    class Blueprint(UsualConsumer.Blueprint):  # type: ignore[valid-type, misc]
        default_steps = [step for step in UsualConsumer.Blueprint.default_steps if step != UNUSED]
