"""How we speak to a mail server.

An EmailServerProfile says where a server stands and how to sign in there; a transport speaks its
protocol. Nothing here knows of mailboxes, users or queues: what crosses the seam are the frozen
values of `wire`, and what goes wrong is one tree, `errors`.

The arrows: models → fields, rules, secrets, and transports → network → wire → errors; the second
row imports no Django.
"""
