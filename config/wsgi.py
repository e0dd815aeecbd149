"""The WSGI application, for `serve` and for gunicorn."""

import os

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from emailprofiles import keycanary  # noqa: E402  (after django.setup)

if sentence := keycanary.complaint():
    raise ImproperlyConfigured(sentence)
