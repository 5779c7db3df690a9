"""One table per file; importing this package knows them all."""

from backend.models.account import Account
from backend.models.api_key import ApiKey
from backend.models.artifact import Artifact
from backend.models.audit_entry import AuditEntry
from backend.models.base import Base
from backend.models.credit_alert import CreditAlert
from backend.models.credit_lot import CreditLot
from backend.models.credit_lot_use import CreditLotUse
from backend.models.event import Event
from backend.models.idempotency import Idempotency
from backend.models.invitation import Invitation
from backend.models.login_guard import LoginGuard
from backend.models.login_session import LoginSession
from backend.models.membership import Membership
from backend.models.pace import Pace
from backend.models.part import Part
from backend.models.payment_event import PaymentEvent
from backend.models.purchase import Purchase
from backend.models.runtime_setting import RuntimeSetting
from backend.models.step import Step
from backend.models.tally import Tally
from backend.models.task import Task
from backend.models.tenant import Tenant
from backend.models.tenant_invitation import TenantInvitation
from backend.models.tenant_limit import TenantLimit
from backend.models.ticket import Ticket
from backend.models.transfer import Transfer
from backend.models.upload import Upload
from backend.models.user import User
from backend.models.webhook import Webhook
from backend.models.webhook_attempt import WebhookAttempt
from backend.models.webhook_delivery import WebhookDelivery
from backend.models.worker import Worker

__all__ = [
    "Account",
    "ApiKey",
    "Artifact",
    "AuditEntry",
    "Base",
    "CreditAlert",
    "CreditLot",
    "CreditLotUse",
    "Event",
    "Idempotency",
    "Invitation",
    "LoginGuard",
    "LoginSession",
    "Membership",
    "Pace",
    "Part",
    "PaymentEvent",
    "Purchase",
    "RuntimeSetting",
    "Step",
    "Tally",
    "Task",
    "Tenant",
    "TenantInvitation",
    "TenantLimit",
    "Ticket",
    "Transfer",
    "Upload",
    "User",
    "Webhook",
    "WebhookAttempt",
    "WebhookDelivery",
    "Worker",
]
