"""The pages of django-allauth that can be reached; all others of it have no address."""

from __future__ import annotations

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from django.conf import settings
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache

urlpatterns: list[URLPattern] = [
    path("sign-in/code/", mfa.authenticate, name="mfa_authenticate"),
    path("second-factor/", mfa.index, name="mfa_index"),
    path("second-factor/set-up/", never_cache(totp.activate_totp), name="mfa_activate_totp"),
    path("second-factor/remove/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path("second-factor/confirm/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("second-factor/confirm/password/", account.reauthenticate, name="account_reauthenticate"),
    path(
        "second-factor/recovery-codes/",
        never_cache(recovery_codes.view_recovery_codes),
        name="mfa_view_recovery_codes",
    ),
    path(
        "second-factor/recovery-codes/new/",
        recovery_codes.generate_recovery_codes,
        name="mfa_generate_recovery_codes",
    ),
]

if settings.SSO_SERVER_URL:
    from allauth.socialaccount.providers.openid_connect import views as openid_connect

    from .single_sign_on import asking_the_provider

    provider = {"provider_id": "sso"}
    urlpatterns += [
        path(
            "sign-in/sso/", asking_the_provider(openid_connect.login), provider, name="openid_connect_login"
        ),
        path(
            "sign-in/sso/back/",
            asking_the_provider(openid_connect.callback),
            provider,
            name="openid_connect_callback",
        ),
    ]
