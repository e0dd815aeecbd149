"""The records of the office; see the modules for their rules.

`people` (User, Queue) → `mailbox` → `state` (what the engine knows), `mail` (what was collected),
`office` (settings, alerts); `signin` (sessions, one-time links).
"""

from .bulk import AppliedDefaults, BulkCommand, BulkCommandItem
from .choices import (
    ActMethod,
    AlertLevel,
    Approval,
    Command,
    Direction,
    IncomingFilter,
    IncomingMethod,
    ItemState,
    Kind,
    MessageState,
    OutgoingMethod,
    SignInEventKind,
    SkipReason,
    StepState,
    TestStatus,
    Word,
)
from .mail import Attachment, Delivery, FolderGeneration, Message, Reconciliation, SkippedMessage
from .mailbox import AdditionalAddress, Mailbox, account_reader
from .office import Alert, EmailConfigurationSettings, RoutingHeader, SetupLink
from .people import REPLIES_UNKNOWN, Queue, Regarding, User, time_zones
from .signin import ResetRequest, Session, SignInEvent, SignInLink
from .state import (
    ConfigurationTest,
    EngineProcess,
    ServerCircuit,
    Survey,
    SurveyShare,
    SyncState,
    TestStep,
    Watch,
)

__all__ = [
    "REPLIES_UNKNOWN",
    "ActMethod",
    "AdditionalAddress",
    "Alert",
    "AlertLevel",
    "AppliedDefaults",
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
    "FolderGeneration",
    "IncomingFilter",
    "IncomingMethod",
    "ItemState",
    "Kind",
    "Mailbox",
    "Message",
    "MessageState",
    "OutgoingMethod",
    "Queue",
    "Reconciliation",
    "Regarding",
    "ResetRequest",
    "RoutingHeader",
    "ServerCircuit",
    "Session",
    "SetupLink",
    "SignInEvent",
    "SignInEventKind",
    "SignInLink",
    "SkipReason",
    "SkippedMessage",
    "StepState",
    "Survey",
    "SurveyShare",
    "SyncState",
    "TestStatus",
    "TestStep",
    "User",
    "Watch",
    "Word",
    "account_reader",
    "time_zones",
]
