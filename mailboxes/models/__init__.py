"""The records of the office; see the modules for their rules.

`people` (User, Queue) → `mailbox` → `state` (what the engine knows), `mail` (what was collected),
`office` (settings, alerts).
"""

from .choices import (
    ActMethod,
    AlertLevel,
    Approval,
    Direction,
    IncomingMethod,
    Kind,
    MessageState,
    OutgoingMethod,
    StepState,
    TestStatus,
)
from .mail import Attachment, Delivery, Message
from .mailbox import Mailbox
from .office import Alert, EmailConfigurationSettings, RoutingHeader, SetupLink
from .people import Queue, Regarding, User
from .state import ConfigurationTest, EngineProcess, ServerCircuit, SyncState, TestStep

__all__ = [
    "ActMethod",
    "Alert",
    "AlertLevel",
    "Approval",
    "Attachment",
    "ConfigurationTest",
    "Delivery",
    "Direction",
    "EmailConfigurationSettings",
    "EngineProcess",
    "IncomingMethod",
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
    "SyncState",
    "TestStatus",
    "TestStep",
    "User",
]
