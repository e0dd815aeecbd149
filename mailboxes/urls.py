"""Addresses of the office."""

from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, path

from .views import frame, home, signin

urlpatterns: list[URLPattern] = [
    # Frame, sign-in, mailboxes.
    path("", home.home, name="home"),
    path("sign-in/", signin.SignIn.as_view(), name="login"),
    path("sign-out/", LogoutView.as_view(), name="logout"),
    path("setup/<str:token>/", signin.setup, name="setup"),
    path("theme/", frame.set_theme, name="set-theme"),
    path("settings/", home.settings_home, name="settings-home"),
    # People, settings, messages, quarantine, alerts.
]
