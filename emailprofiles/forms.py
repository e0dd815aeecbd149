"""Forms of records: the rules live in the models; a form asks, and hands back their sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet, UniqueConstraint
from django.forms.models import construct_instance
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from .defaults import make_default
from .models import (
    PROTOCOLS,
    USUAL_PORTS,
    AuthenticateUsing,
    EmailServerProfile,
    SecurityChoice,
    sign_in_is_available,
    type_is_available,
)

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Any]
else:
    _ModelForm = forms.ModelForm

YES_NO = (("False", "No"), ("True", "Yes"))


class YesNo(forms.TypedChoiceField):
    """Two radio buttons, No and Yes, for a boolean column."""

    def __init__(self, **options: Any) -> None:
        defaults: dict[str, Any] = {"choices": YES_NO, "coerce": lambda value: value in ("True", True)}
        super().__init__(widget=forms.RadioSelect, **defaults | options)

    def prepare_value(self, value: Any) -> Any:
        return str(value)


class Password(forms.CharField):
    """Write-only: never rendered; empty means that the stored one stays."""

    def __init__(self, *, autocomplete: str = "new-password", **options: Any) -> None:
        widget = forms.PasswordInput(attrs={"autocomplete": autocomplete})
        settings: dict[str, Any] = {"required": False} | options
        super().__init__(widget=widget, strip=False, **settings)


class Choice(forms.Select):
    """A select whose unavailable options are shown disabled; `unavailable` maps value to reason."""

    unavailable: Mapping[str, str] = {}

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        reason = self.unavailable.get(str(value))
        if reason and not option["selected"]:
            option["attrs"] |= {"disabled": True, "title": reason}
        return option

    @property
    def reasons(self) -> list[str]:
        """One sentence for each reason, with the options it closes."""
        labels = {str(value): str(label) for value, label in self.choices}
        closed: dict[str, list[str]] = {}
        for value, reason in self.unavailable.items():
            closed.setdefault(reason, []).append(labels.get(value, value))
        return [f"{', '.join(names)}: {reason}" for reason, names in closed.items()]


SUGGESTED = 50


def written_as(user: Any) -> str:
    """A person as an input shows them: "Amara Okafor <amara@contoso.com>"."""
    return f"{user} <{user.email}>"


class Suggesting(forms.TextInput):
    """An input with suggestions: never a select of all people, who may be a hundred thousand."""

    def __init__(self, suggestions: Callable[[], Iterable[str]], attrs: dict[str, Any] | None = None) -> None:
        super().__init__(
            {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"} | (attrs or {})
        )
        self.suggestions = suggestions

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """The input, and beside it the datalist that its `list` attribute names."""
        identity = f"{(attrs or {}).get('id', name)}_suggestions"
        control = super().render(name, value, {**(attrs or {}), "list": identity}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((one,) for one in self.suggestions()))
        return format_html('{}<datalist id="{}">{}</datalist>', control, identity, options)


def people_found(typed: str = "") -> QuerySet[Any]:
    """Active users whose name, user name or address contains every word typed."""
    users = get_user_model()._default_manager.filter(is_active=True)
    for word in typed.split()[:5]:
        fields = ("first_name", "last_name", "username", "email")
        users = users.filter(reduce(or_, (Q(**{f"{field}__icontains": word}) for field in fields)))
    return users.order_by("first_name", "last_name", "username")


def suggested_people() -> list[str]:
    return [written_as(user) for user in people_found()[:SUGGESTED]]


def person_named(typed: str) -> Any:
    """The one active user of an address, user name or full name; raises ValidationError with a sentence."""
    address = typed.rpartition("<")[2].strip().removesuffix(">")
    exact = Q(email__iexact=address) | Q(username__iexact=typed.strip())
    users = get_user_model()._default_manager.filter(exact, is_active=True)
    found = list(users[:2]) or [
        user for user in people_found(typed)[:SUGGESTED] if str(user) == typed.strip()
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValidationError(f"Several active users are called {typed}: type the email address.")
    raise ValidationError(f"No active user is called {typed}. Type a name, a user name or an email address.")


class PersonField(forms.CharField):
    """One active user, typed as address, user name or full name, with suggestions."""

    def __init__(self, *, attrs: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(widget=Suggesting(suggested_people, attrs), **options)

    def prepare_value(self, value: Any) -> Any:
        """A user, or the key of one, as text; what was typed stays as it was typed."""
        if isinstance(value, int):
            value = get_user_model()._default_manager.filter(pk=value).first()
        return written_as(value) if isinstance(value, get_user_model()) else value

    def clean(self, value: Any) -> Any:
        if isinstance(value, get_user_model()) or value is None:
            return value
        typed = super().clean(self.prepare_value(value))
        return person_named(typed) if typed else None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed(self.prepare_value(initial), data))


def _columns(constraint: UniqueConstraint) -> list[str]:
    """The columns that a unique constraint compares, those within an expression such as Lower too."""
    expressions: Iterable[Any] = constraint.expressions
    parts: list[Any] = [part for expression in expressions for part in expression.flatten()]
    return [*constraint.fields, *(part.name for part in parts if hasattr(part, "name"))]


class RecordForm(_ModelForm):
    """A form whose record judges all of itself: `full_clean()` leaves nothing out.

    Errors of fields that are not on the form become errors of the form as a whole. Fields named in
    `secrets` are passwords: declared as `Password`, stored only when something was typed.
    """

    secrets: tuple[str, ...] = ()

    def __init__(self, *args: Any, read_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.disabled = field.disabled or read_only
            if not isinstance(field.widget, (forms.RadioSelect, forms.CheckboxInput)):
                field.widget.attrs.setdefault("class", "input")

    def _post_clean(self) -> None:
        self.instance = construct_instance(self, self.instance, self._meta.fields, self._meta.exclude)
        for name in self.secrets:
            if self.cleaned_data.get(name):
                setattr(self.instance, name, self.cleaned_data[name])
        self._judge()

    def _judge(self) -> None:
        try:
            self.instance.full_clean()
        except ValidationError as error:
            self._hand_over(error)

    def _hand_over(self, error: ValidationError) -> None:
        """Put each sentence at its field; a field that was refused already keeps its own."""
        by_field = error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: [error]}
        refused = set(self.errors)
        for name, sentences in by_field.items():
            for sentence in sentences:
                place = name if name in self.fields else self._unique_field(sentence)
                if place is None or place not in refused:
                    self.add_error(place, sentence)

    def _unique_field(self, sentence: ValidationError) -> str | None:
        """The field of this form that a unique constraint with this sentence is about."""
        for constraint in self.instance._meta.constraints:
            if (
                isinstance(constraint, UniqueConstraint)
                and str(constraint.violation_error_message) in sentence.messages
            ):
                return next((name for name in _columns(constraint) if name in self.fields), None)
        return None

    def try_save(self) -> bool:
        """Save if everything is right; False, with the sentences at their fields, if not.

        Rules across rows are checked once more while saving: another person may have been faster.
        """
        if not self.is_valid():
            return False
        try:
            with transaction.atomic():
                self.save()
        except ValidationError as error:
            self._hand_over(error)
        except IntegrityError:
            self._judge()
            if not self.errors:
                raise
        return not self.errors

    @property
    def summary(self) -> list[tuple[str, str, str]]:
        """(anchor, label, sentence) of each error; the anchor is empty for the form as a whole."""
        found = []
        for name, sentences in self.errors.items():
            bound = self[name] if name in self.fields else None
            anchor, label = (bound.auto_id, str(bound.label)) if bound else ("", "")
            found += [(anchor, label, str(sentence)) for sentence in sentences]
        return found


# --- the email server profile ---

SIDES = ("incoming", "outgoing")
NOT_YET = "Not available in this version."
AUTHENTICATE_HINTS: dict[str, str] = {
    AuthenticateUsing.MAILBOX: "Each mailbox signs in for itself, with its own user name and password.",
    AuthenticateUsing.PROFILE: "One account opens all mailboxes; the server must allow it to.",
    AuthenticateUsing.OAUTH: "No password is stored.",
    AuthenticateUsing.ANONYMOUS: "For sending only: leave the incoming server location empty.",
}


class Options(forms.RadioSelect):
    """Radio buttons, each with what follows from it; those in `unavailable` are disabled, with the reason."""

    def __init__(self, hints: Mapping[str, str]) -> None:
        super().__init__()
        self.hints = hints
        self.unavailable: Mapping[str, str] = {}

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        reason = self.unavailable.get(str(value), "")
        option["hint"] = " ".join(filter(None, (self.hints.get(str(value), ""), reason)))
        if reason and not option["selected"]:
            option["attrs"] |= {"disabled": True}
        return option


class Exact(forms.TextInput):
    """An input that no keyboard or browser improves: host names, user names."""

    def __init__(self) -> None:
        super().__init__({"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"})


class Number(forms.TextInput):
    """A whole number, without the arrows that a wheel of the mouse turns by mistake."""

    def __init__(self) -> None:
        super().__init__({"inputmode": "numeric"})


class Moment(forms.DateTimeField):
    """A date and time in the zone of who looks."""

    def __init__(self, **options: Any) -> None:
        widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
        super().__init__(widget=widget, **options)


class ProfileForm(RecordForm):
    """How to speak to one mail server. What nothing obeys yet is not asked."""

    secrets = ("password", "outgoing_password")

    owner = PersonField(label="Owner", help_text="Receives the alerts of this server.")
    is_active = YesNo(label="Active", initial=True)
    is_default = YesNo(
        label="Default for new mailboxes",
        help_text="Yes takes this over from the profile that is the default now.",
    )
    incoming_port = forms.IntegerField(label="Incoming Port", required=False, widget=Number)
    outgoing_port = forms.IntegerField(label="Outgoing Port", required=False, widget=Number)
    unencrypted_confirmed = forms.BooleanField(
        label="Mail and passwords may cross the network readable", required=False
    )
    password = Password(label="Password")
    same_sign_in_for_outgoing = YesNo(label="Same sign-in for outgoing", initial=True)
    outgoing_password = Password(label="Outgoing Password")
    process_email_from = Moment(label="Process Email From", required=False)

    class Meta:
        model = EmailServerProfile
        fields = (
            "name",
            "owner",
            "server_type",
            "description",
            "is_active",
            "incoming_host",
            "incoming_security",
            "incoming_port",
            "outgoing_host",
            "outgoing_security",
            "outgoing_port",
            "unencrypted_confirmed",
            "authenticate_using",
            "username",
            "same_sign_in_for_outgoing",
            "outgoing_username",
            "incoming_folder",
            "process_email_from",
            "min_polling_interval_minutes",
            "messages_per_cycle",
            "max_concurrent_connections",
            "timeout_seconds",
        )
        labels = {
            "incoming_host": "Incoming Server Location",
            "incoming_security": "Security",
            "outgoing_host": "Outgoing Server Location",
            "outgoing_security": "Security",
            "min_polling_interval_minutes": "Minimum Polling Interval in Minutes",
            "messages_per_cycle": "Messages per Cycle",
            "max_concurrent_connections": "Maximum Concurrent Connections",
            "timeout_seconds": "Timeout in Seconds",
            "incoming_folder": "Folder to Read",
        }
        help_texts = {
            "server_type": "Decides which protocols are spoken.",
            "incoming_host": "Such as imap.contoso.com. Empty: this profile only sends.",
            "outgoing_host": "Such as smtp.contoso.com. Empty: this profile only receives.",
            "username": "The account that may open the mailboxes of this profile.",
            "outgoing_username": "The account that may send for the mailboxes of this profile.",
            "incoming_folder": "INBOX on most servers.",
            "min_polling_interval_minutes": "A message waits half of this on average before it arrives here.",
            "messages_per_cycle": "Then another mailbox has its turn; the rest follows in the next cycle.",
            "max_concurrent_connections": "At the same time, by all mailboxes of this profile together.",
            "timeout_seconds": "How long we wait for an answer of the server, at most 100.",
        }
        widgets = {
            "server_type": Choice,
            "description": forms.TextInput,
            "authenticate_using": Options(AUTHENTICATE_HINTS),
            "incoming_host": Exact,
            "outgoing_host": Exact,
            "username": Exact,
            "outgoing_username": Exact,
            "min_polling_interval_minutes": Number,
            "messages_per_cycle": Number,
            "max_concurrent_connections": Number,
            "timeout_seconds": Number,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["is_default"].initial = self.instance.is_default
        self._close(server_type=type_is_available, authenticate_using=sign_in_is_available)
        self._say_what_is_stored()
        zone = timezone.get_current_timezone_name()
        self.fields[
            "process_email_from"
        ].help_text = f"{zone}. Older messages stay untouched; empty: none is older."
        if self.instance.pk is None:
            self.fields["process_email_from"].initial = timezone.now()

    def _close(self, **available: Callable[[str], bool]) -> None:
        """Show the options that no transport can serve yet as such."""
        for name, is_available in available.items():
            widget = self.fields[name].widget
            widget.unavailable = {value: NOT_YET for value, _ in widget.choices if not is_available(value)}

    def _say_what_is_stored(self) -> None:
        for name in self.secrets:
            if self.instance.pk and getattr(self.instance, name):
                self.fields[name].widget.attrs["placeholder"] = "stored — leave empty to keep"
            self.fields[name].help_text = "Stored encrypted; it cannot be shown again."

    def clean(self) -> dict[str, Any]:
        """Fill in what follows from other fields: usual ports, and no confirmation of what is not there."""
        super().clean()
        for side in SIDES:
            if self.cleaned_data.get(f"{side}_port", 0) is None:
                self._fill_in_port(side)
        if not any(self.cleaned_data.get(f"{side}_security") == SecurityChoice.NONE for side in SIDES):
            self.cleaned_data["unencrypted_confirmed"] = False
        return self.cleaned_data

    def _fill_in_port(self, side: str) -> None:
        protocols = PROTOCOLS.get(self.cleaned_data.get("server_type", ""), ("", ""))
        security = self.cleaned_data.get(f"{side}_security")
        usual = USUAL_PORTS.get((protocols[SIDES.index(side)], security or ""))
        if usual:
            self.cleaned_data[f"{side}_port"] = usual
        else:
            self.add_error(f"{side}_port", "Type the port: there is no usual one for this server type.")

    def _post_clean(self) -> None:
        if not self.cleaned_data.get("is_default"):
            self.instance.is_default = False
        super()._post_clean()

    def save(self, commit: bool = True) -> EmailServerProfile:
        """Saves the profile; as the new default, it takes the flag off the former one."""
        profile: EmailServerProfile = super().save(commit)
        if self.cleaned_data["is_default"]:
            make_default(profile)
        return profile
