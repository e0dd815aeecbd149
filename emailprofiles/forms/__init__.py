"""Forms of records: the rules live in the models; a form asks, and hands back their sentences."""

from .combobox import Candidates, ComboboxField, Pick, address_in
from .controls import Choice, Exact, Lines, Moment, Number, Options, Password, YesNo
from .people import People, PeopleField, PersonField
from .profile import ProfileForm
from .record import RecordForm, Summed
from .servers import Profiles, ServerProfileField

__all__ = [
    "Candidates",
    "Choice",
    "ComboboxField",
    "Exact",
    "Lines",
    "Moment",
    "Number",
    "Options",
    "Password",
    "People",
    "PeopleField",
    "PersonField",
    "Pick",
    "ProfileForm",
    "Profiles",
    "RecordForm",
    "ServerProfileField",
    "Summed",
    "YesNo",
    "address_in",
]
