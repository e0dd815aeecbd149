"""The second door, an extra: codes of an authenticator app, and single sign-on (SIGN_IN_WITH=allauth).

Nothing in here is loaded while the setting is `django`. With it, user name and password are asked for by the
same page and throttled in the same way; then django-allauth takes the person through its stages (`account`):
who has set up a second factor is asked for a code (`second_factor`). Single sign-on (`single_sign_on`) asks
one OpenID Connect provider, and lets in whom it vouches for, if that address belongs to an active user here.
Nobody signs up. Of allauth's pages only those in `urls` can be reached, each in our own templates.
"""
