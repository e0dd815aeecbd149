"""Addresses of the office."""

from django.conf import settings as django_settings
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, path

from .views import (
    alerts,
    bulk,
    departures,
    frame,
    handbook,
    histories,
    home,
    ledger,
    mailbox_commands,
    mailbox_list,
    mailboxes,
    messages,
    my_mailbox,
    own_queues,
    password,
    people,
    people_lists,
    preferences,
    profiles,
    quarantine,
    sessions,
    settings,
    signin,
)

urlpatterns: list[URLPattern] = [
    # Frame, sign-in, mailboxes.
    path("", home.home, name="home"),
    path("sign-in/", signin.SignIn.as_view(), name="login"),
    path("sign-out/", LogoutView.as_view(), name="logout"),
    path("sign-in/link/<str:token>/", password.sign_in_link, name="sign_in_link"),
    path("password/", password.password_change, name="password_change"),
    path("password/forgotten/", password.forgotten, name="password_forgotten"),
    path("password/forgotten/sent/", password.forgotten_sent, name="password_forgotten_sent"),
    path("sessions/", sessions.session_list, name="sessions"),
    path("sessions/end-others/", sessions.sessions_end_others, name="sessions_end_others"),
    path("sessions/<uuid:reference>/end/", sessions.session_end, name="session_end"),
    path("setup/<str:token>/", signin.setup, name="setup"),
    path("theme/", frame.set_theme, name="set-theme"),
    path("help/", handbook.contents, name="help"),
    path("help/<slug:slug>/", handbook.topic, name="help-topic"),
    path("settings/", home.settings_home, name="settings-home"),
    path("mailboxes/", mailbox_list.mailbox_list, name="mailbox-list"),
    path("mailboxes/new/", mailboxes.new, name="mailbox-new"),
    path("mailboxes/new/methods/", mailboxes.new_methods, name="mailbox-new-methods"),
    path("mailboxes/command/", bulk.ask, name="bulk-request"),
    path("mailboxes/commands/", bulk.recent, name="bulk-list"),
    path("mailboxes/commands/<int:pk>/", bulk.command, name="bulk-command"),
    path("mailboxes/commands/<int:pk>/progress/", bulk.progress, name="bulk-progress"),
    path("mailboxes/commands/<int:pk>/stop/", bulk.stop, name="bulk-stop"),
    path("mailboxes/<int:pk>/", mailboxes.edit, name="mailbox-edit"),
    path("mailboxes/<int:pk>/methods/", mailboxes.methods, name="mailbox-methods"),
    path("mailboxes/<int:pk>/test/", mailbox_commands.test, name="mailbox-test"),
    path("mailboxes/<int:pk>/history/", histories.mailbox, name="mailbox-history"),
    path("mailboxes/<int:pk>/tests/<int:test>/", histories.test_run, name="mailbox-test-run"),
    path("mailboxes/<int:pk>/results/", mailboxes.results, name="mailbox-results"),
    path("mailboxes/<int:pk>/approve/", mailbox_commands.approve, name="mailbox-approve"),
    path("mailboxes/<int:pk>/reject/", mailbox_commands.reject, name="mailbox-reject"),
    path("mailboxes/<int:pk>/activate/", mailbox_commands.activate, name="mailbox-activate"),
    path("mailboxes/<int:pk>/deactivate/", mailbox_commands.deactivate, name="mailbox-deactivate"),
    path("mailboxes/<int:pk>/ledger/", ledger.ledger, name="mailbox-ledger"),
    path("mailboxes/<int:pk>/reconcile/", ledger.reconcile, name="mailbox-reconcile"),
    path("mailboxes/<int:pk>/collect/", mailbox_commands.collect, name="mailbox-collect"),
    # What everyone has: the own mailbox, preferences.
    path("my-mailbox/", my_mailbox.my_mailbox, name="my-mailbox"),
    path("my-mailbox/results/", my_mailbox.results, name="my-mailbox-results"),
    path("my-queues/", own_queues.own_queues, name="own-queues"),
    path("my-queues/<int:pk>/join/", own_queues.join, name="own-queues-join"),
    path("my-queues/<int:pk>/leave/", own_queues.leave, name="own-queues-leave"),
    path("me/", preferences.preferences, name="me"),
    # People, settings, messages, quarantine, alerts.
    path("profiles/<int:pk>/history/", histories.profile, name="profile-history"),
    path("profiles/<int:pk>/confirm/", profiles.confirm, name="profile-confirm"),
    path("profiles/<int:pk>/activate/", profiles.activate, name="profile-activate"),
    path("profiles/<int:pk>/deactivate/", profiles.deactivate, name="profile-deactivate"),
    path("profiles/<int:pk>/default/", profiles.make_default, name="profile-default"),
    path("profiles/<int:pk>/delete/", profiles.delete, name="profile-delete"),
    path("queues/", people_lists.queue_list, name="queue-list"),
    path("queues/new/", people.queue_new, name="queue-new"),
    path("queues/<int:pk>/", people.queue_edit, name="queue-edit"),
    path("users/", people_lists.user_list, name="user-list"),
    path("users/new/", people.user_new, name="user-new"),
    path("users/<int:pk>/", people.user_edit, name="user-edit"),
    path("users/<int:pk>/sign-in-link/", sessions.user_link, name="user-link"),
    path("users/<int:pk>/end-sessions/", sessions.user_end_sessions, name="user-end-sessions"),
    path("users/<int:pk>/hand-over/", departures.hand_over, name="user-hand-over"),
    *(
        path(f"{kind}s/<int:pk>/{name}/", view, {"kind": kind}, name=f"{kind}-{name}")
        for kind in ("user", "queue")
        for name, view in (
            ("activate", departures.activate),
            ("deactivate", departures.deactivate),
            ("delete", departures.delete),
        )
    ),
    path("queues/<int:pk>/history/", histories.queue, name="queue-history"),
    path("users/<int:pk>/history/", histories.user, name="user-history"),
    path("settings/email/history/", histories.configuration, name="configuration-history"),
    path("settings/email/", settings.configuration, name="configuration"),
    path("messages/", messages.message_list, name="message-list"),
    path("messages/<int:pk>/", messages.message, name="message"),
    path("messages/<int:pk>/raw/", messages.message_raw, name="message-raw"),
    path("messages/<int:pk>/html/", messages.message_html, name="message-html"),
    path("messages/<int:pk>/attachments/<int:number>/", messages.attachment, name="attachment"),
    path("quarantine/", quarantine.quarantine, name="quarantine"),
    path("quarantine/targets/", quarantine.targets, name="target-search"),
    path("quarantine/<int:pk>/retry/", quarantine.retry, name="quarantine-retry"),
    path("quarantine/<int:pk>/deliver/", quarantine.deliver, name="quarantine-deliver"),
    path("quarantine/<int:pk>/discard/", quarantine.discard, name="quarantine-discard"),
    path("quarantine/<int:pk>/put-back/", quarantine.restore, name="quarantine-put-back"),
    path("quarantine/command/", quarantine.many, name="quarantine-many"),
    path("messages/<int:pk>/source/", messages.message_source, name="message-source"),
    path("alerts/", alerts.alert_list, name="alert-list"),
]

if django_settings.SIGN_IN_WITH == "allauth":
    from .entrance.urls import urlpatterns as entrance

    urlpatterns += [
        *entrance,
        path("sign-in/", signin.SignIn.as_view(), name="account_login"),
        path(
            "users/<int:pk>/remove-second-factor/",
            sessions.user_remove_second_factor,
            name="user-remove-second-factor",
        ),
    ]
