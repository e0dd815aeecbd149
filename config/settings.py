"""Settings, read from the environment by django-environ.

Everything works with no environment at all; each variable is described in the README's
configuration table. Run-time files (database, keys) lie in the git-ignored `var/`.
"""

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from emailprofiles.keyfile import read_keyfile

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var")))
VAR_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# Keys for stored credentials, apart from SECRET_KEY; see emailprofiles/secrets.py.
FIELD_KEYS = env.list("FIELD_KEYS", default=[])
FIELD_KEYS_FILE = Path(env.str("FIELD_KEYS_FILE", default=str(VAR_DIR / "keys")))
# Before the first `migrate` has written the key file, a key that lives as long as this process.
_stored_secret_key = env.str("SECRET_KEY", default="") or read_keyfile(FIELD_KEYS_FILE).secret_key
SECRET_KEY = _stored_secret_key or get_random_secret_key()
SECRET_KEY_IS_FLEETING = not _stored_secret_key

# Mail servers.
TLS_CA_FILE = env.str("TLS_CA_FILE", default="")
ALLOW_INTERNAL_SERVERS = env.bool("ALLOW_INTERNAL_SERVERS", default=True)
SYNC_THREADS = env.int("SYNC_THREADS", default=4)
SYNC_WATCHES = env.int("SYNC_WATCHES", default=100)

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'sortingoffice.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        # FULL, not NORMAL: a power cut must not lose a commit after the server's copy is gone.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
    # Several connections write during the tests: a file, not a shared memory database.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
else:
    DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
# Network and transactions never nest, so a request is not one transaction.
DATABASES["default"]["ATOMIC_REQUESTS"] = False
DATABASE_ROUTERS = ["mailboxes.search.NotATable"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "mailboxes",
    "emailprofiles",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "auditlog",
    "axes",
    "django_htmx",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "mailboxes.sessions.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "mailboxes.views.frame.PersonMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "mailboxes.views.frame.frame",
            ],
            "builtins": ["mailboxes.templatetags.office"],
        },
    },
]

# The history of changes keeps values as JSON, and of a secret only that it changed.
AUDITLOG_STORE_JSON_CHANGES = True
AUDITLOG_MASK_CALLABLE = "emailprofiles.history.masked"
AUDITLOG_CID_HEADER = None  # nothing that a stranger sends becomes part of an entry

AUTH_USER_MODEL = "mailboxes.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["mailboxes.throttle.ThrottledBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

# How often a sign-in may fail; see mailboxes/throttle.py.
SIGN_IN_ATTEMPTS = env.int("SIGN_IN_ATTEMPTS", default=5)
SIGN_IN_ATTEMPTS_PER_ADDRESS = env.int("SIGN_IN_ATTEMPTS_PER_ADDRESS", default=10 * SIGN_IN_ATTEMPTS)
AXES_HANDLER = "mailboxes.throttle.SignInThrottle"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = SIGN_IN_ATTEMPTS
AXES_COOLOFF_TIME = timedelta(minutes=env.int("SIGN_IN_COOL_OFF_MINUTES", default=15))
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_CLIENT_IP_CALLABLE = "mailboxes.client.counted_address"
AXES_CLIENT_STR_CALLABLE = "mailboxes.throttle.who_tried"
AXES_LOCKOUT_CALLABLE = "mailboxes.views.signin.locked_out"
# Seconds in which a one-time link works, whether it was mailed or made by an administrator.
PASSWORD_RESET_TIMEOUT = 60 * env.int("SIGN_IN_LINK_MINUTES", default=30)
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken", "next"]

LANGUAGE_CODE = "en"
# The languages that the product speaks; a person can choose no other.
LANGUAGES = [("en", "English")]
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
WHITENOISE_USE_FINDERS = True

# Mail of the office itself; without EMAIL_URL it sends none.
EMAIL_URL = env.str("EMAIL_URL", default="")
_mail = (
    env.email_url("EMAIL_URL")
    if EMAIL_URL
    else {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
)
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
if EMAIL_BACKEND.endswith("smtp.EmailBackend"):
    EMAIL_BACKEND = "mailboxes.post.EmailBackend"
EMAIL_FILE_PATH = _mail.get("EMAIL_FILE_PATH")
EMAIL_HOST = _mail.get("EMAIL_HOST") or "localhost"
EMAIL_HOST_USER = _mail.get("EMAIL_HOST_USER") or ""
EMAIL_HOST_PASSWORD = _mail.get("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_PORT = _mail.get("EMAIL_PORT") or (465 if EMAIL_USE_SSL else 587 if EMAIL_USE_TLS else 25)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Sorting Office <sorting-office@localhost>")
SITE_URL = env.str("SITE_URL", default="").rstrip("/")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "frame-ancestors": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}
X_FRAME_OPTIONS = "SAMEORIGIN"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "mailboxes.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = env.bool("HTTPS_ONLY", default=False)
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="WARNING")},
}

# The extra `allauth`: codes of an authenticator app, and single sign-on. See mailboxes/entrance.
SIGN_IN_WITH = env.str("SIGN_IN_WITH", default="django")
SSO_SERVER_URL = env.str("SSO_SERVER_URL", default="").rstrip("/")
SSO_CLIENT_ID = env.str("SSO_CLIENT_ID", default="")
SSO_CLIENT_SECRET = env.str("SSO_CLIENT_SECRET", default="")
SSO_NAME = env.str("SSO_NAME", default="single sign-on")
SSO_OTHER_ORIGINS = env.list("SSO_OTHER_ORIGINS", default=[])
if SIGN_IN_WITH == "allauth":
    if find_spec("allauth") is None:
        raise ImproperlyConfigured(
            "SIGN_IN_WITH=allauth needs the extra: pip install sorting-office[allauth]"
        )
    INSTALLED_APPS += ["allauth", "allauth.account", "allauth.mfa"]
    MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
    ACCOUNT_ADAPTER = "mailboxes.entrance.account.AccountAdapter"
    ACCOUNT_EMAIL_VERIFICATION = "none"
    MFA_ADAPTER = "mailboxes.entrance.second_factor.MFAAdapter"
    MFA_FORMS = {
        "authenticate": "mailboxes.entrance.second_factor.CodeForm",
        "reauthenticate": "mailboxes.entrance.second_factor.ConfirmForm",
        "activate_totp": "mailboxes.entrance.second_factor.SetUpForm",
    }
    ACCOUNT_FORMS = {"reauthenticate": "mailboxes.entrance.second_factor.PasswordForm"}
    MFA_TOTP_ISSUER = "Sorting Office"
    MFA_TOTP_TOLERANCE = 1
    MFA_RECOVERY_CODES_SHOW_ONCE = True
if SIGN_IN_WITH == "allauth" and SSO_SERVER_URL:
    INSTALLED_APPS += ["allauth.socialaccount", "allauth.socialaccount.providers.openid_connect"]
    SOCIALACCOUNT_ADAPTER = "mailboxes.entrance.single_sign_on.SocialAccountAdapter"
    SOCIALACCOUNT_LOGIN_ON_GET = True  # a form that leads to the provider would break form-action 'self'
    SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "OAUTH_PKCE_ENABLED": True,
            "APPS": [
                {
                    "provider_id": "sso",
                    "name": SSO_NAME,
                    "client_id": SSO_CLIENT_ID,
                    "secret": SSO_CLIENT_SECRET,
                    "settings": {"server_url": SSO_SERVER_URL},
                }
            ],
        }
    }
