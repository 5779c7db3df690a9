"""One table per file; importing this package knows them all."""

from backend.models.account import Account
from backend.models.artifact import Artifact
from backend.models.base import Base
from backend.models.event import Event
from backend.models.idempotency import Idempotency
from backend.models.membership import Membership
from backend.models.step import Step
from backend.models.task import Task
from backend.models.tenant import Tenant
from backend.models.ticket import Ticket
from backend.models.transfer import Transfer
from backend.models.upload import Upload
from backend.models.user import User
from backend.models.worker import Worker

__all__ = [
    "Account",
    "Artifact",
    "Base",
    "Event",
    "Idempotency",
    "Membership",
    "Step",
    "Task",
    "Tenant",
    "Ticket",
    "Transfer",
    "Upload",
    "User",
    "Worker",
]
