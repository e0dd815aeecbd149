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
from django.db.models import Q, QuerySet
from django.forms.models import construct_instance
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

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
        for name, sentences in by_field.items():
            if name not in self.fields:
                self.add_error(None, sentences)
            elif name not in self.errors:
                self.add_error(name, sentences)

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
