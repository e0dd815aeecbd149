"""Fields and widgets that the forms share: choices with reasons, passwords, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.html import format_html
from django.utils.safestring import SafeString

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
    """A whole number, without the arrows that a wheel of the mouse turns by mistake; `unit` stands behind it."""

    def __init__(self, unit: str = "") -> None:
        super().__init__({"inputmode": "numeric"})
        self.unit = unit

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        control = super().render(name, value, attrs, renderer)
        if not self.unit:
            return control
        return format_html('<div class="unit">{}<span>{}</span></div>', control, self.unit)


class Lines(forms.CharField):
    """Several values, one on each line."""

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, (list, tuple)) else value


class Moment(forms.DateTimeField):
    """A date and time in the zone of who looks."""

    def __init__(self, **options: Any) -> None:
        widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
        super().__init__(widget=widget, **options)
