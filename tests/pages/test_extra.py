"""The extra for codes and single sign-on: absent unless asked for, and proven in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import run_checks
from django.test import Client

from tests.servers import free_port

ROOT = Path(__file__).parents[2]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python process in the root folder, with these settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SSO_"))}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


def test_the_extra_does_what_its_own_tests_ask() -> None:
    tests = ("-m", "pytest", "tests/with_allauth", "-q", "-p", "no:cacheprovider")
    done = run(
        *tests,
        SIGN_IN_WITH="allauth",
        SSO_SERVER_URL=f"http://127.0.0.1:{free_port()}",
        SSO_CLIENT_ID="sorting-office",
        SSO_CLIENT_SECRET="Radieschen 9",
        SSO_NAME="Contoso",
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_nothing_of_the_extra_is_loaded_without_it() -> None:
    done = run(
        "-c",
        "import django, sys; django.setup(); import config.urls;"
        "print([name for name in sys.modules if name.startswith(('allauth', 'mailboxes.entrance'))])",
        DJANGO_SETTINGS_MODULE="config.settings",
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "path", ["/second-factor/", "/sign-in/code/", "/sign-in/sso/", "/users/1/remove-second-factor/"]
)
def test_its_pages_do_not_exist_without_it(client: Client, db: None, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SIGN_IN_WITH": "magic"}, "must be django or allauth"),
        ({"SSO_SERVER_URL": "https://id.contoso.com"}, "needs SIGN_IN_WITH=allauth"),
        (
            {"SIGN_IN_WITH": "allauth", "SSO_SERVER_URL": "https://id.contoso.com"},
            "needs SSO_CLIENT_ID and SSO_CLIENT_SECRET",
        ),
        ({"SIGN_IN_WITH": "allauth", "SSO_SERVER_URL": "http://id.contoso.com"}, "must begin with https://"),
    ],
)
def test_settings_that_make_no_sense_are_named(
    db: None, settings: LazySettings, changes: dict[str, Any], sentence: str
) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    assert any(sentence in found.msg for found in run_checks() if found.id == "sortingoffice.E008")
