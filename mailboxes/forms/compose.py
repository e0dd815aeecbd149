"""Writing: from whom, to whom, what, and which files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from emailprofiles.forms import Summed

from .. import outbox, replying, writing
from ..models import (
    Attachment,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    OutgoingFile,
    OutgoingMessage,
    RecipientKind,
    User,
)
from ..parsing import MAX_TEXT, file_name
from ..writing import File, Person
from .recipients import Correspondents, RecipientsField

if TYPE_CHECKING:
    _ModelChoiceField = forms.ModelChoiceField[Mailbox]
else:
    _ModelChoiceField = forms.ModelChoiceField


class _FilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of files."""

    def __init__(self, **options: Any) -> None:
        super().__init__(widget=_FilesInput(attrs={"class": "input"}), required=False, **options)

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        given = data if isinstance(data, (list, tuple)) else [data] if data else []
        return [super(FilesField, self).clean(one, initial) for one in given]


class _Sender(_ModelChoiceField):
    """A mailbox that one may write from."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name} <{obj.email_address}>"


class ComposeForm(Summed, forms.Form):
    """A message as it is written; `draft` is what is stored of it, if anything is.

    `try_save` stores a draft whatever is missing for sending; `try_send` queues it as well.
    """

    mailbox = _Sender(
        Mailbox.objects.none(),
        label="From",
        empty_label=None,
        widget=forms.Select(attrs={"class": "input"}),
        error_messages={"invalid_choice": "You may not write from this mailbox. Choose one that is offered."},
    )
    subject = forms.CharField(
        label="Subject",
        required=False,
        max_length=writing.MAX_SUBJECT,
        widget=forms.TextInput(attrs={"class": "input"}),
    )
    text = forms.CharField(
        label="Text",
        required=False,
        max_length=MAX_TEXT,
        strip=False,
        widget=forms.Textarea(attrs={"class": "input compose-text", "rows": 16}),
    )
    attach = FilesField(label="Attach files")
    as_html = forms.BooleanField(
        label="Send also as HTML",
        required=False,
        help_text="Beside the plain text, with links and quotes set off. Nothing of the text is taken for markup.",
    )
    asks_report = forms.BooleanField(
        label="Ask for a delivery report",
        required=False,
        help_text="Servers that can, say when it arrived or failed. Many do not.",
    )

    def __init__(
        self, user: User, draft: OutgoingMessage, forwards: Message | None, *args: Any, **kwargs: Any
    ) -> None:
        """`forwards` is the message whose attachments are offered; the first time it is stored, they are taken out."""
        super().__init__(*args, **kwargs)
        self.user, self.draft, self.forwards = user, draft, forwards
        senders = outbox.senders(user)
        sender: Any = self.fields["mailbox"]
        sender.queryset = Mailbox.objects.filter(pk__in=[one.pk for one in senders]).order_by(
            "queue__name", "pk"
        )
        if draft.mailbox_id not in {one.pk for one in senders}:
            sender.empty_label = "Choose a mailbox"  # a browser would take the first one unasked
        candidates = Correspondents(user)
        for kind in RecipientKind:
            self.fields[kind.value] = RecipientsField(candidates, label=kind.label)
        limit = EmailConfigurationSettings.load().max_message_size_mb
        self.fields["attach"].help_text = f"Together with the text at most {limit} MB."
        self.kept = self._kept()
        self.offered = self._offered()

    def _offered(self) -> list[tuple[Attachment, bool]]:
        """Attachments of the forwarded message that may be handed on, and whether they are chosen."""
        if self.forwards is None:
            return []
        chosen = self._listed("carry") if self.is_bound else None
        parts = self.forwards.attachments.filter(is_blocked=False)
        return [(one, chosen is None or str(one.number) in chosen) for one in parts]

    def _listed(self, name: str) -> list[str]:
        """All values of one name."""
        data: Any = self.data
        return list(data.getlist(name))

    def _kept(self) -> list[OutgoingFile]:
        """Files that the draft has, less those that were taken out on the page."""
        if self.draft.pk is None:
            return []
        stored = list(self.draft.files.defer("data"))
        if not self.is_bound:
            return stored
        keep = set(self._listed("keep"))
        return [one for one in stored if str(one.pk) in keep]

    def clean_attach(self) -> list[File]:
        """Read only when all of it may be sent."""
        uploaded: list[Any] = self.cleaned_data["attach"]
        settings = EmailConfigurationSettings.load()
        carried = [one for one, is_chosen in self.offered if is_chosen]
        octets = sum(one.size or 0 for one in [*uploaded, *self.kept, *carried])
        if octets > settings.max_message_octets:
            raise ValidationError(
                f"The files have {octets / 1_000_000:.1f} MB; at most {settings.max_message_size_mb} MB are sent. "
                "Leave some out, or make them smaller."
            )
        taken = replying.taken_out(self.forwards, [one.number for one in carried]) if self.forwards else []
        return taken + [
            File(
                file_name(one.name or "", "", number),
                one.content_type or "application/octet-stream",
                one.read(),
            )
            for number, one in enumerate(uploaded, 1)
        ]

    def try_save(self) -> bool:
        """Store the draft; False, with sentences at the fields, when something cannot be stored."""
        if not self.is_valid():
            return False
        self.offered = []
        said, draft = self.cleaned_data, self.draft
        draft.mailbox, draft.subject = said["mailbox"], writing.one_line(said["subject"])
        draft.text, draft.asks_report = writing.plain(said["text"]), said["asks_report"]
        signed = writing.signed(draft.text, outbox.signature_of(draft.mailbox))
        draft.html = writing.formatted(signed) if said["as_html"] else ""
        recipients: dict[str, Sequence[Person]] = {kind: said[kind] for kind in RecipientKind.values}
        return self._done(
            lambda: outbox.save_draft(
                draft, recipients, said["attach"], kept_files=[one.pk for one in self.kept]
            )
        )

    def try_send(self) -> bool:
        """Store and queue it; what keeps it from being queued is said, and the draft is stored all the same."""
        if not self.try_save():
            return False
        self.kept = list(self.draft.files.defer("data"))
        return self._done(lambda: outbox.queue(self.draft))

    def _done(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except ValidationError as error:
            by_field = error.error_dict if hasattr(error, "error_dict") else {None: [error]}
            for name, sentences in by_field.items():
                place = {"files": "attach"}.get(name or "", name)
                self.add_error(place if place in self.fields else None, sentences)
            return False
        return True
