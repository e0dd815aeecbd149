"""Forms of records: the rules live in the models; a form asks, and hands back their sentences."""

from .controls import Choice, Exact, Lines, Moment, Number, Options, Password, Suggesting, YesNo
from .people import SUGGESTED, PersonField, people_found, person_named, suggested_people, written_as
from .profile import ProfileForm
from .record import RecordForm, Summed

__all__ = [
    "SUGGESTED",
    "Choice",
    "Exact",
    "Lines",
    "Moment",
    "Number",
    "Options",
    "Password",
    "PersonField",
    "ProfileForm",
    "RecordForm",
    "Suggesting",
    "Summed",
    "YesNo",
    "people_found",
    "person_named",
    "suggested_people",
    "written_as",
]
