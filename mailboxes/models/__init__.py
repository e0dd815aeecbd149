"""The records of the office; see the modules for their rules.

`people` (User, Queue) → `mailbox` → `state` (what the engine knows), `mail` (what was collected),
`office` (settings, alerts).
"""

from .bulk import BulkCommand, BulkCommandItem
from .choices import (
    ActMethod,
    AlertLevel,
    Approval,
    Command,
    Direction,
    IncomingMethod,
    ItemState,
    Kind,
    MessageState,
    OutgoingMethod,
    StepState,
    TestStatus,
)
from .mail import Attachment, Delivery, Message
from .mailbox import Mailbox, account_reader
from .office import Alert, EmailConfigurationSettings, RoutingHeader, SetupLink
from .people import Queue, Regarding, User, time_zones
from .state import ConfigurationTest, EngineProcess, ServerCircuit, Survey, SurveyShare, SyncState, TestStep

__all__ = [
    "ActMethod",
    "Alert",
    "AlertLevel",
    "Approval",
    "Attachment",
    "BulkCommand",
    "BulkCommandItem",
    "Command",
    "ConfigurationTest",
    "Delivery",
    "Direction",
    "EmailConfigurationSettings",
    "EngineProcess",
    "IncomingMethod",
    "ItemState",
    "Kind",
    "Mailbox",
    "Message",
    "MessageState",
    "OutgoingMethod",
    "Queue",
    "Regarding",
    "RoutingHeader",
    "ServerCircuit",
    "SetupLink",
    "StepState",
    "Survey",
    "SurveyShare",
    "SyncState",
    "TestStatus",
    "TestStep",
    "User",
    "account_reader",
    "time_zones",
]
