"""All addresses of the product."""

from django.urls import include, path

urlpatterns = [
    path("", include("mailboxes.urls")),
    path("", include("emailprofiles.urls")),
]
