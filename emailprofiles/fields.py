"""A model field for secrets; see `secrets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute

from .secrets import Sealed, Secret, seal

if TYPE_CHECKING:
    _TextField = models.TextField[Any, Secret]
else:
    _TextField = models.TextField


class SecretAttribute(DeferredAttribute):
    """Reads as a Secret; takes a Secret, clear text, or what came from the database."""

    field: EncryptedField

    def __get__(self, instance: models.Model | None, owner: Any = None) -> Any:
        if instance is None:
            return self
        value = super().__get__(instance, owner)
        if isinstance(value, Sealed):
            return Secret(sealed=value, additional=self.field.additional(instance))
        return value or Secret()

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = self._kept(instance, value)

    def _kept(self, instance: models.Model, value: Any) -> Secret | str:
        """What stands in the instance: this row's ciphertext, a typed Secret, or "" for none.

        Never clear text, so that no dump of the instance shows it; and setting what was read changes nothing.
        """
        if not value or isinstance(value, Sealed):
            return value or ""
        if isinstance(value, str):
            return Secret(value)
        if not isinstance(value, Secret):
            raise TypeError(f"{self.field.name} takes text or a Secret.")
        if value.sealed is None:
            return value
        # Bound to the row it was read from: for another row it is opened, and sealed anew.
        return value.sealed if self._is_of_row(value, instance) else Secret(value.reveal())

    def _is_of_row(self, secret: Secret, instance: models.Model) -> bool:
        if instance._state.adding and "secret_id" not in instance.__dict__:
            return False  # while a new instance is being built, its secret_id does not stand yet
        return secret.additional == self.field.additional(instance)


class EncryptedField(_TextField):
    """Text that is sealed at rest. The model has a `secret_id`: a random UUID, never changed.

    Only an instance can be saved (the row's `secret_id` is part of the seal): `update()` and
    `bulk_update()` raise TypeError, and so does a look-up by anything but "". Exports leave it empty.
    """

    descriptor_class = SecretAttribute

    def __init__(self, verbose_name: str | None = None, **options: Any) -> None:
        defaults: dict[str, Any] = {"blank": True, "default": "", "editable": False}
        super().__init__(verbose_name, **defaults | options)

    def additional(self, instance: models.Model) -> str:
        """The additional data that bind a ciphertext to its model, field and row."""
        return f"{self.model._meta.label_lower}.{self.name}.{instance.secret_id}"  # type: ignore[attr-defined]

    def from_db_value(self, value: str | None, *args: Any) -> str:
        return Sealed(value) if value else ""

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        secret: Secret = getattr(model_instance, self.attname)
        if not secret:
            return ""
        sealed = secret.sealed or seal(secret.reveal(), self.additional(model_instance))
        model_instance.__dict__[self.attname] = sealed
        return sealed

    def get_prep_value(self, value: Any) -> Any:
        # Reached by the evaluation of constraints, where only "is there one" matters.
        if isinstance(value, Secret):
            return Sealed("sealed") if value else ""
        if value and not isinstance(value, Sealed):
            raise TypeError(f"{self.name} is sealed: nothing can be compared with it in the database.")
        return value

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if hasattr(value, "as_sql") or value == "" or isinstance(value, Sealed):
            return super().get_db_prep_save(value, connection)
        raise TypeError(f"{self.name} is sealed for its row: set it on the instance and save that.")

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        return ""
